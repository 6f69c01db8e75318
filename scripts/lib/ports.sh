# shellcheck shell=bash
# Free ports, picked once and remembered in the service's folder as lines "name=port". They are taken from below the
# range that the system gives to outgoing connections.

port_of() {
    local home=$1 wanted=$2 name port
    [[ -f $home/ports ]] || return 1
    while IFS='=' read -r name port; do
        [[ $name != "$wanted" ]] || { printf '%s\n' "$port" && return; }
    done <"$home/ports"
    return 1
}

# Makes sure that each named port is known and that nobody listens on it: call it while the service is down. The
# sockets of a server that was killed may outlive it for a moment.
claim_ports() {
    local home=$1 keep=$2 name port wait
    shift 2
    local -A claimed=()
    for name in "$@"; do
        port=$(port_of "$home" "$name") || port=''
        for ((wait = 0; wait < 100; wait++)); do
            [[ -n $keep && -n $port ]] && has_listener "$port" || break
            sleep 0.1
        done
        if [[ -n $port ]] && has_listener "$port"; then
            [[ -z $keep ]] || die "port $port ($name) has been taken by another process: run scripts/services up"
            note "port $port ($name) has been taken by another process: picking another"
            port=''
        fi
        while [[ -z $port || -n ${claimed[$port]:-} ]]; do port=$(free_port); done
        claimed[$port]=$name
    done
    for port in "${!claimed[@]}"; do printf '%s=%s\n' "${claimed[$port]}" "$port"; done | sort >"$home/ports.new"
    mv -f -- "$home/ports.new" "$home/ports"
}

free_port() {
    local port
    for _ in {1..1000}; do
        port=$((20000 + RANDOM % 12000))
        has_listener "$port" || { printf '%s\n' "$port" && return; }
    done
    die 'found no free port'
}

has_listener() {
    local hex
    printf -v hex '%04X' "$1"
    awk -v port="$hex" '$4 == "0A" && $2 ~ (":" port "$") { found = 1 } END { exit !found }' \
        < <(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null)
}
