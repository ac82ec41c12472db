#!/bin/sh
# SPDX-License-Identifier: ISC
# Run a command beside a private PostgreSQL:   with_postgres.sh COMMAND [ARGUMENT…]
#
# The server listens on a Unix socket in a directory of its own only (no port can be taken), has the migrations applied
# to database `iot_auth`, and is stopped by its process id however the command ends.  The command sees PGHOST, PGPORT,
# PGUSER, PGDATABASE, and IA_TEST_PGDATA.
set -eu

source_dir=$(cd "$(dirname "$0")/../../.." && pwd)
for bin in ${IA_PG_BIN:-/usr/lib/postgresql/*/bin} "$(dirname "$(command -v initdb || echo /none)")"; do
    [ -x "$bin/initdb" ] && break
done

dir=$(mktemp -d /tmp/ia-pg.XXXXXX)
chmod 755 "$dir"
as_postgres=
if [ "$(id -u)" = 0 ]; then # PostgreSQL refuses to run as root
    chown postgres "$dir"
    as_postgres="runuser -u postgres --"
fi

server=
finish() {
    code=$?
    trap - EXIT INT TERM
    if [ -n "$server" ]; then
        kill -CONT "$server" 2>/dev/null || true
        kill -QUIT "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$dir"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

$as_postgres "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync >"$dir/initdb.log" ||
    { cat "$dir/initdb.log" >&2; exit 1; }
# One role has to give its password, so that a wrong one can be tried.
printf '%s\n' 'local all with_password scram-sha-256' 'local all all trust' >"$dir/hba"
cat "$dir/hba" >"$dir/data/pg_hba.conf"

# exec in a subshell: $! is then the postmaster itself when nothing stands in between; the pid file is the truth.
$as_postgres "$bin/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= -c fsync=off -c full_page_writes=off \
    -c max_connections=20 -c superuser_reserved_connections=1 -c shared_buffers=64MB -c logging_collector=off \
    >"$dir/server.log" 2>&1 &
child=$!

export PGHOST="$dir" PGPORT=5432 PGUSER=postgres PGDATABASE=postgres IA_TEST_PGDATA="$dir/data"
tries=0
until "$bin/pg_isready" -q; do
    tries=$((tries + 1))
    if [ "$tries" -gt 150 ] || ! kill -0 "$child" 2>/dev/null; then
        cat "$dir/server.log" >&2
        exit 1
    fi
    sleep 0.1
done
server=$(head -n 1 "$dir/data/postmaster.pid")

"$bin/createdb" iot_auth
export PGDATABASE=iot_auth
for file in "$source_dir"/sql/migrations/*.sql; do
    "$bin/psql" -X -q -v ON_ERROR_STOP=1 -o /dev/null -f "$file" 2>"$dir/psql.log" || { cat "$dir/psql.log" >&2; exit 1; }
done

"$@"
