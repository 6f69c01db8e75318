# shellcheck shell=bash
# PostgreSQL on 127.0.0.1, superuser relaybox without a password. The server refuses to run as root; for root it runs as
# the package's user postgres.

# Such as PGHOST and PGOPTIONS, which would lead our own client astray.
for variable in "${!PG@}"; do unset "$variable"; done

AS_POSTGRES=()
((EUID != 0)) || AS_POSTGRES=(setpriv --reuid=postgres --regid=postgres --init-groups)

# The user postgres cannot reach a checkout in, say, /root: its folder is then elsewhere, with a link to it in .services.
postgres_home() {
    local outside
    if "${AS_POSTGRES[@]}" test -x "$STATE" 2>/dev/null; then
        printf '%s\n' "$STATE/postgres"
        return
    fi
    outside=/var/tmp/relaybox-$(checkout_hash)
    [[ ! -e $outside && ! -L $outside ]] || [[ -O $outside && ! -L $outside ]] || die "$outside belongs to somebody else"
    printf '%s\n' "$outside/postgres"
}

postgres_mark() { printf 'relaybox.home=%s\n' "$(postgres_home)"; }

postgres_ports() { echo postgres; }

postgres_signal() { if [[ $1 == graceful ]]; then echo INT; else echo QUIT; fi; }

postgres_exports() {
    local port
    port=$(port_of "$(postgres_home)" postgres)
    print_export RELAYBOX_POSTGRES_URL "postgres://relaybox@127.0.0.1:$port/postgres"
}

postgres_packages() { [[ -n $(postgres_bin) ]] || echo postgresql; }

# The folder of the server's programs: those of the version that made the data, else the newest; nothing if none.
postgres_bin() {
    local data version found
    data=$(postgres_home)/data
    version=$(cat -- "$data/PG_VERSION" 2>/dev/null) || version='*'
    # shellcheck disable=SC2086
    found=$(printf '%s\n' /usr/lib/postgresql/$version/bin/postgres | sort -V | tail -n 1)
    [[ -x $found ]] || found=$(command -v postgres) || return 0
    dirname -- "$(readlink -f -- "$found")"
}

postgres_prepare() {
    local home
    home=$(postgres_home)
    postgres_own "$home"
    postgres_after_stop
    [[ -d $home/data ]] || postgres_make_data "$home"
    postgres_settings "$(port_of "$home" postgres)" >"$home/data/relaybox.conf"
    chmod 644 -- "$home/data/relaybox.conf"
}

postgres_own() {
    local home=$1 outside=${1%/postgres}
    ((EUID == 0)) || return 0
    if [[ $outside != "$STATE" ]]; then
        chmod 755 -- "$outside"
        ln -sfnT -- "$home" "$STATE/postgres"
    fi
    chown postgres:postgres -- "$home"
}

# Made aside and moved into place, so that a half-made one is never taken for whole.
postgres_make_data() {
    local home=$1 bin
    bin=$(postgres_bin)
    note 'making a new PostgreSQL cluster'
    rm -rf -- "$home/data.new"
    (
        cd -- "$home" && "${AS_POSTGRES[@]}" "$bin/initdb" -D data.new -U relaybox -A trust -E UTF8 --locale=C.UTF-8
    ) >"$home/initdb.log" 2>&1 || { cat -- "$home/initdb.log" >&2 && die 'cannot make a PostgreSQL cluster'; }
    printf "\ninclude_if_exists 'relaybox.conf'\n" >>"$home/data.new/postgresql.conf"
    mv -T -- "$home/data.new" "$home/data"
}

postgres_settings() {
    cat <<EOF
# Written by scripts/services at each start.
port = $1
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
max_prepared_transactions = 20
wal_level = replica
fsync = on
synchronous_commit = on
timezone = 'UTC'
log_timezone = 'UTC'
EOF
}

postgres_start() {
    local home bin
    home=$(postgres_home)
    bin=$(postgres_bin)
    start_detached "$home" "${AS_POSTGRES[@]}" "$bin/postgres" -D "$home/data" -c "$(postgres_mark)"
}

postgres_answers() {
    local port bin
    port=$(port_of "$(postgres_home)" postgres) || return 1
    bin=$(postgres_bin)
    PGCONNECT_TIMEOUT=5 timeout 10 "$bin/psql" -Xqwo /dev/null -h 127.0.0.1 -p "$port" -U relaybox -d postgres \
        -c 'select 1' 2>/dev/null
}

# Its children outlive a server that was killed, and the lock file names a pid that may be a stranger's by now.
postgres_after_stop() {
    local data process
    data=$(postgres_home)/data
    [[ -d $data ]] || return 0
    for process in /proc/[0-9]*; do
        [[ $process/cwd -ef $data && $(cat "$process/comm" 2>/dev/null) == postgres ]] || continue
        kill -s KILL "${process#/proc/}" 2>/dev/null || true
        while [[ $process/cwd -ef $data ]]; do sleep 0.05; done
    done
    rm -f -- "$data/postmaster.pid"
}
