#!/bin/sh
# nginx asks its own resolver, which knows no search domains: take both from what Kubernetes has written for this pod.
set -eu
resolver=$(awk '$1 == "nameserver" { print $2; exit }' /etc/resolv.conf)
domain=$(awk '$1 == "search" { print $2; exit }' /etc/resolv.conf)
sed -e "s|@RESOLVER@|$resolver|" -e "s|@API@|${API:-shop-api}${domain:+.$domain}:8080|" \
    /etc/nginx/nginx.conf.template > /etc/nginx/nginx.conf
exec nginx -g 'daemon off;'
