#!/bin/bash
# Makes the database on the first start, then runs what it was given. What it understands is described at
# https://hub.docker.com/_/postgres: POSTGRES_PASSWORD, _USER, _DB, _INITDB_ARGS, _HOST_AUTH_METHOD (each also
# with _FILE), PGDATA, and /docker-entrypoint-initdb.d.
set -euo pipefail

# setting NAME [DEFAULT]: take the value from the variable NAME, the file that NAME_FILE names, or the default.
setting() {
    local file="$1_FILE"
    if [[ -n ${!1:-} && -n ${!file:-} ]]; then
        echo "error: both $1 and $file are set; set one of them" >&2
        exit 1
    fi
    if [[ -n ${!file:-} ]]; then
        printf -v "$1" '%s' "$(<"${!file}")"
    else
        printf -v "$1" '%s' "${!1:-${2:-}}"
    fi
    export "${1?}"
    unset "$file"
}

# The database is made in $PGDATA/.new, renamed to .done once it is whole, and then moved to its place with PG_VERSION last:
# whenever this is killed, the next start either begins anew or finishes the move.
initialize() {
    setting POSTGRES_PASSWORD
    setting POSTGRES_USER postgres
    setting POSTGRES_DB "$POSTGRES_USER"
    setting POSTGRES_INITDB_ARGS
    setting POSTGRES_HOST_AUTH_METHOD scram-sha-256
    if [[ -z $POSTGRES_PASSWORD && $POSTGRES_HOST_AUTH_METHOD != trust ]]; then
        echo 'Error: Database is uninitialized and superuser password is not specified.' >&2
        echo '       Set POSTGRES_PASSWORD to a non-empty value for the superuser.' >&2
        exit 1
    fi
    local final=$PGDATA
    export PGDATA=$final/.new
    rm -rf "$PGDATA"
    local password=()
    if [[ -n $POSTGRES_PASSWORD ]]; then
        password=(--pwfile=/dev/stdin)
    fi
    # Words are split on purpose: the variable holds options.
    # shellcheck disable=SC2086
    initdb --username="$POSTGRES_USER" "${password[@]}" $POSTGRES_INITDB_ARGS <<< "$POSTGRES_PASSWORD"
    printf '\nhost all all all %s\n' "$POSTGRES_HOST_AUTH_METHOD" >> "$PGDATA/pg_hba.conf"

    # Only over the local socket until everything is there, so that nobody sees half a database.
    pg_ctl -w -o "-c listen_addresses='' -p ${PGPORT:-5432}" start
    local sql=(psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER")
    if [[ $POSTGRES_DB != postgres ]]; then
        "${sql[@]}" --dbname postgres --set db="$POSTGRES_DB" <<< 'CREATE DATABASE :"db";'
    fi
    local file
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
            *.sh) if [[ -x $file ]]; then "$file"; else . "$file"; fi ;;
            *.sql) "${sql[@]}" --dbname "$POSTGRES_DB" -f "$file" ;;
            *.sql.gz) gunzip -c "$file" | "${sql[@]}" --dbname "$POSTGRES_DB" ;;
        esac
    done
    pg_ctl -m fast -w stop
    mv "$PGDATA" "$final/.done"
    export PGDATA=$final
    echo 'PostgreSQL init process complete; ready for start up.'
}

put_in_place() {
    find "$PGDATA/.done" -mindepth 1 -maxdepth 1 \! -name PG_VERSION -exec mv -t "$PGDATA" '{}' +
    mv "$PGDATA/.done/PG_VERSION" "$PGDATA"
    rmdir "$PGDATA/.done"
}

if [[ ${1:-} == -* ]]; then
    set -- postgres "$@"
fi
if [[ ${1:-} == postgres ]]; then
    mkdir -p "$PGDATA"
    if [[ $(id -u) == 0 ]]; then
        find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
        find /var/run/postgresql \! -user postgres -exec chown postgres '{}' +
        exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
    fi
    chmod 700 "$PGDATA" || :
    if [[ ! -s $PGDATA/PG_VERSION && ! -d $PGDATA/.done ]]; then
        initialize
    fi
    if [[ -d $PGDATA/.done ]]; then
        put_in_place
    fi
    unset POSTGRES_PASSWORD POSTGRES_PASSWORD_FILE
fi
exec "$@"
