# shellcheck shell=bash
# Processes that outlive the script. A process counts as ours only if one of its arguments is the service's mark, which
# names the checkout's folder: a pid file alone may be stale and its pid may be a stranger's by now.

start_detached() {
    local home=$1
    shift
    [[ ! -f $home/log ]] || mv -f -- "$home/log" "$home/log.1"
    (
        exec </dev/null >"$home/log" 2>&1
        cd -- "$home" || exit
        close_inherited_files
        exec setsid nohup "$@"
    ) &
    printf '%s\n' "$!" >"$home/pid"
}

# A server must hold neither our lock nor a pipe that somebody waits for.
close_inherited_files() {
    local fd
    for fd in "/proc/$BASHPID/fd"/*; do
        fd=${fd##*/}
        # 255 is the script itself, which bash closes on exec.
        ((fd <= 2 || fd == 255)) || exec {fd}>&-
    done
}

is_ours() {
    local pid=$1 mark=$2
    [[ $pid =~ ^[0-9]+$ ]] && grep -Fxzqs -f - "/proc/$pid/cmdline" <<<"$mark"
}

# By the pid file, or where that was lost, by the mark.
find_ours() {
    local home=$1 mark=$2 pid='' files
    if [[ -f $home/pid ]]; then
        read -r pid <"$home/pid" || true
        ! is_ours "$pid" "$mark" || { printf '%s\n' "$pid" && return; }
    fi
    # shellcheck disable=SC2062 # it is the files to look at
    files=$(grep -Fxzls -f - /proc/[0-9]*/cmdline <<<"$mark") || true
    [[ -n $files ]] || return 1
    pid=${files%%$'\n'*}
    pid=${pid#/proc/}
    printf '%s\n' "${pid%/cmdline}"
}

# Sends the signal and waits for the end; after the given seconds, SIGKILL.
end_process() {
    local pid=$1 mark=$2 signal=$3 seconds=$4
    is_ours "$pid" "$mark" || return 0
    kill -s "$signal" "$pid" 2>/dev/null || true
    kill -s CONT "$pid" 2>/dev/null || true # a frozen process would not see the signal
    wait_for_end "$pid" "$mark" "$seconds" && return
    note "process $pid still runs $seconds s after SIG$signal: sending SIGKILL"
    kill -s KILL "$pid" 2>/dev/null || true
    wait_for_end "$pid" "$mark" 30 || die "process $pid does not end"
}

wait_for_end() {
    local pid=$1 mark=$2 deadline=$((SECONDS + $3))
    while is_ours "$pid" "$mark"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}
