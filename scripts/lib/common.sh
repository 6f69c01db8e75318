# shellcheck shell=bash
# Small things that every part of scripts/services uses. Standard output is for results; notes go to standard error.

note() { printf 'services: %s\n' "$*" >&2; }

die() {
    note "$*"
    exit 1
}

is_known() {
    local known
    for known in "${KNOWN[@]}"; do [[ $known != "$1" ]] || return 0; done
    return 1
}

add_known() { is_known "$1" || KNOWN+=("$1"); }

# One change at a time in a checkout. Servers are started without this lock's descriptor (see start_detached).
locked() {
    local lock
    make_state_folder
    exec {lock}>"$STATE/lock"
    if ! flock --nonblock "$lock"; then
        note 'another scripts/services is at work in this checkout: waiting for it'
        flock --timeout 900 "$lock" || die 'waited 15 minutes for the other scripts/services: giving up'
    fi
    "$@"
}

make_state_folder() {
    [[ -d $STATE ]] || mkdir -m 755 -- "$STATE"
    [[ -w $STATE ]] || die "cannot write to $STATE: was it made by another user?"
}

print_export() { printf "export %s='%s'\n" "$1" "${2//\'/\'\\\'\'}"; }

random_word() { od -An -N12 -tx1 /dev/urandom | tr -d ' \n'; }

checkout_hash() { printf '%s' "$ROOT" | sha256sum | cut -c1-12; }
