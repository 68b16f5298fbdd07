"""What pods find in /etc: host name, resolv.conf, hosts. Plain functions.

Source: the Kubernetes documentation's pages on DNS for Services and Pods, and on HostAliases.
"""

from __future__ import annotations

from dataclasses import dataclass

from sampan.machinery.objects import Object
from sampan.node import pods

MOST_SERVERS = 3
MOST_SEARCHES = 32


@dataclass(frozen=True, slots=True)
class Resolver:
    """The contents of a resolv.conf."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClusterDns:
    """The cluster's DNS servers and domain, and the node's own resolver."""

    servers: tuple[str, ...]
    domain: str
    host: Resolver


def parse(text: str) -> Resolver:
    """A resolv.conf; resolv.conf(5)."""
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        word, *rest = line.split("#")[0].split(";")[0].split() or [""]
        if word == "nameserver":
            servers += rest[:1]
        elif word in ("search", "domain"):
            searches = rest
        elif word == "options":
            options += rest
    return Resolver(tuple(servers), tuple(searches), tuple(options))


def resolver(pod: Object, dns: ClusterDns) -> Resolver:
    """What the pod's dnsPolicy and dnsConfig ask for."""
    policy = pod["spec"].get("dnsPolicy", "ClusterFirst")
    cluster = policy == "ClusterFirstWithHostNet" or (
        policy == "ClusterFirst" and not pods.is_host_network(pod)
    )
    if policy == "None":
        base = Resolver()
    elif cluster and dns.servers:
        namespace = pod["metadata"]["namespace"]
        searches = (f"{namespace}.svc.{dns.domain}", f"svc.{dns.domain}", dns.domain)
        base = Resolver(dns.servers, (*searches, *dns.host.searches), ("ndots:5",))
    else:
        base = dns.host
    extra = pod["spec"].get("dnsConfig") or {}
    own = tuple(o["name"] + (f":{o['value']}" if o.get("value") else "") for o in extra.get("options") or ())
    replaced = {o.partition(":")[0] for o in own}
    return Resolver(
        _unique((*base.servers, *(extra.get("nameservers") or ())))[:MOST_SERVERS],
        _unique((*base.searches, *(extra.get("searches") or ())))[:MOST_SEARCHES],
        (*(o for o in base.options if o.partition(":")[0] not in replaced), *own),
    )


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def hostname(pod: Object, node: str, domain: str) -> tuple[str, str]:
    """The pod's host name, and its domain where it has a subdomain."""
    spec, meta = pod["spec"], pod["metadata"]
    if override := spec.get("hostnameOverride"):
        return override, ""
    if pods.is_host_network(pod):
        return node, ""
    name = spec.get("hostname") or meta["name"][:63].rstrip("-.")
    subdomain = spec.get("subdomain")
    return name, f"{subdomain}.{meta['namespace']}.svc.{domain}" if subdomain else ""


def sandbox_hostname(pod: Object, node: str, domain: str) -> str:
    """What `hostname` prints in the pod: the full name only where setHostnameAsFQDN asks for it.

    On the host's network it is empty: such pods share the host's name.
    """
    if pods.is_host_network(pod) and not pod["spec"].get("hostnameOverride"):
        return ""
    name, rest = hostname(pod, node, domain)
    return f"{name}.{rest}" if rest and pod["spec"].get("setHostnameAsFQDN") else name


def hosts(pod: Object, ips: tuple[str, ...], node: str, domain: str, of_host: str) -> str:
    """The pod's /etc/hosts; on the host's network it begins with the host's own."""
    name, rest = hostname(pod, node, domain)
    if pods.is_host_network(pod):
        text = "# Kubernetes-managed hosts file (host network).\n" + of_host
    else:
        text = (
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
            "fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n"
        )
        names = f"{name}.{rest}\t{name}" if rest else name
        text += "".join(f"{ip}\t{names}\n" for ip in ips)
    aliases = pod["spec"].get("hostAliases") or ()
    if aliases:
        text += "\n# Entries added by HostAliases.\n"
        text += "".join(f"{a['ip']}\t" + "\t".join(a.get("hostnames") or ()) + "\n" for a in aliases)
    return text
