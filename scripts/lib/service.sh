# shellcheck shell=bash
# What is the same for every service. A service NAME is one file, services/NAME.sh, which defines
#
#   NAME_home            prints its folder (data, ports, pid, log)
#   NAME_mark            prints the argument by which its process is known as this checkout's
#   NAME_ports           prints the names of its ports
#   NAME_signal MODE     prints the signal that ends it: MODE is graceful or immediate
#   NAME_packages        prints the Debian packages that it needs and that are not installed
#   NAME_prepare         makes its folder's data where missing and writes its settings; the ports are claimed by then
#   NAME_start           calls start_detached
#   NAME_answers         whether it does its work for clients now
#   NAME_exports         prints the lines for clients, by print_export
#   NAME_fetch           optional: gets what it needs and no Debian package has
#   NAME_after_stop      optional: ends or removes what the process leaves behind

readonly START_SECONDS=120 ANSWER_SECONDS=30 STOP_SECONDS=30 ATTEMPTS=3

# All at once, and only for the services that do not run.
install_missing() {
    local name packages=()
    for name in "$@"; do
        # shellcheck disable=SC2207
        service_pid "$name" >/dev/null || packages+=($("${name}_packages"))
    done
    ((${#packages[@]} == 0)) || install_packages "${packages[@]}"
}

call_if_defined() { ! declare -F "$1" >/dev/null || "$1"; }

service_pid() { find_ours "$("$1_home")" "$("$1_mark")"; }

service_up() {
    local name=$1 pid
    if pid=$(service_pid "$name"); then
        kill -s CONT "$pid" 2>/dev/null || true # a test may have left it frozen
        if service_ready "$name" "$pid" "$ANSWER_SECONDS"; then
            printf '%s\n' "$pid" >"$("${name}_home")/pid"
            note "$name runs already (pid $pid)"
            return
        fi
        note "$name (pid $pid) does not answer: starting it anew"
        service_stop "$name" graceful
    fi
    service_start "$name" ''
}

service_start() {
    local name=$1 keep_ports=$2 home pid attempt ports began=$SECONDS
    call_if_defined "${name}_fetch"
    home=$("${name}_home")
    mkdir -p -- "$home"
    read -ra ports <<<"$("${name}_ports")"
    for ((attempt = 1; attempt <= ATTEMPTS; attempt++)); do
        claim_ports "$home" "$keep_ports" "${ports[@]}"
        "${name}_prepare"
        "${name}_start"
        read -r pid <"$home/pid"
        if service_ready "$name" "$pid" "$START_SECONDS"; then
            note "$name is ready (pid $pid)"
            return
        fi
        service_stop "$name" immediate
        ((SECONDS < began + START_SECONDS)) || break
        # Somebody was faster in taking the port than we were.
        [[ -n $keep_ports ]] || ! grep -q 'Address already in use' "$home/log" || rm -f -- "$home/ports"
        sleep 1
    done
    tail -n 25 -- "$home/log" >&2
    die "$name did not start (log: $home/log); 'scripts/services down --wipe $name' would delete its data"
}

# Waits until the service answers; fails at once when its process is gone.
service_ready() {
    local name=$1 pid=$2 deadline=$((SECONDS + $3))
    [[ -f $("${name}_home")/ports ]] || return 1
    until "${name}_answers"; do
        kill -0 "$pid" 2>/dev/null || return 1
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
    # Somebody else's server may have answered on our port.
    is_ours "$pid" "$("${name}_mark")"
}

service_stop() {
    local name=$1 mode=$2 signal=KILL home pid
    home=$("${name}_home")
    [[ $mode == kill ]] || signal=$("${name}_signal" "$mode")
    if pid=$(service_pid "$name"); then
        end_process "$pid" "$("${name}_mark")" "$signal" "$STOP_SECONDS"
        note "$name stopped (pid $pid, SIG$signal)"
    fi
    rm -f -- "$home/pid"
    call_if_defined "${name}_after_stop"
}

service_wipe() {
    local home
    home=$("$1_home")
    rm -rf -- "$home" "${STATE:?}/$1"
    # Where the folder is not in .services.
    rmdir -- "${home%/*}" 2>/dev/null || true
}

service_status() {
    local name=$1 pid state=running list
    if ! pid=$(service_pid "$name"); then
        printf '%-10s stopped\n' "$name"
        return 1
    fi
    "${name}_answers" || state='not answering'
    list=$(paste -sd ' ' -- "$("${name}_home")/ports" 2>/dev/null) || list=unknown
    printf '%-10s %s  pid %s  ports %s\n' "$name" "$state" "$pid" "$list"
    [[ $state == running ]]
}
