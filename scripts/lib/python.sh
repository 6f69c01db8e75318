# shellcheck shell=bash
# Confluent's own client for Python, in an environment of its own: by it the tests show that others read what we write
# and write what we read. It is shared by checkouts; another list of requirements makes another environment.

readonly PYTHON_REQUIREMENTS=$LIB/services/registry/requirements.txt
PYTHON_CLIENT=$CACHE/python-$(sha256sum <"$PYTHON_REQUIREMENTS" | cut -c1-12)
readonly PYTHON_CLIENT

python_has_client() { "$PYTHON_CLIENT/bin/python" -c 'import confluent_kafka' 2>/dev/null; }

python_packages() {
    python_has_client || python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3 python3-venv
}

# Nothing else fails for want of it: the tests that need it say that they are skipped. An environment can't be moved,
# so it is made in place, by one at a time, and replaced if it is not whole.
python_fetch() {
    local log=$CACHE/python.log
    ! python_has_client || return 0
    note "installing Confluent's client for Python with pip"
    mkdir -p -- "$CACHE"
    (
        flock --timeout 600 8 || exit
        python_has_client && exit
        rm -rf -- "$PYTHON_CLIENT"
        python3 -m venv "$PYTHON_CLIENT" &&
            "$PYTHON_CLIENT/bin/python" -m pip install --disable-pip-version-check --quiet \
                --requirement "$PYTHON_REQUIREMENTS"
    ) 8>"$CACHE/python.lock" </dev/null >"$log" 2>&1 || true
    python_has_client || { tail -n 5 -- "$log" >&2 && note "could not install it (log: $log): going on without"; }
}
