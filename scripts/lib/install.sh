# shellcheck shell=bash
# Installs Debian packages by name: as root without asking, else by telling the user which.

install_packages() {
    if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
        die "missing: please install $* (on Debian or Ubuntu: sudo apt-get install $*)"
    fi
    note "installing: $*"
    mkdir -p "$CACHE"
    (
        flock 8
        keep_daemons_stopped
        apt update && apt --no-install-recommends install "$@"
    ) 8>"$CACHE/apt.lock" </dev/null >"$CACHE/apt.log" 2>&1 || {
        tail -n 30 -- "$CACHE/apt.log" >&2
        die "could not install $* (log: $CACHE/apt.log)"
    }
}

apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=3 -o DPkg::Lock::Timeout=600 \
        -o Dpkg::Use-Pty=0 "$@"
}

# Debian's packages start their own servers when they are installed, unless policy-rc.d says no.
keep_daemons_stopped() {
    local policy=/usr/sbin/policy-rc.d
    [[ ! -e $policy ]] || return 0
    # shellcheck disable=SC2064
    trap "rm -f $policy" EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
}
