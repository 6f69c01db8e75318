# shellcheck shell=bash
# RabbitMQ on 127.0.0.1: one node without plugins, with a port for AMQP and one for AMQP over TLS. User relaybox may do
# everything; user guest, with the same password, may only read.

readonly RABBITMQ_USER=relaybox RABBITMQ_GUEST=guest
# The name is the same in every checkout: each has a name server (epmd) of its own.
readonly RABBITMQ_NODE=relaybox@localhost

rabbitmq_home() { printf '%s\n' "$STATE/rabbitmq"; }

rabbitmq_mark() { printf 'relaybox.home=%s\n' "$(rabbitmq_home)"; }

rabbitmq_ports() { echo amqp amqps distribution epmd; }

# A TERM lets the node write out what it holds; there is no quicker way that still counts as a crash than KILL.
rabbitmq_signal() { if [[ $1 == graceful ]]; then echo TERM; else echo KILL; fi; }

rabbitmq_exports() {
    local home login
    home=$(rabbitmq_home)
    login=$RABBITMQ_USER:$(<"$home/password")
    print_export RELAYBOX_RABBITMQ_URL "amqp://$login@127.0.0.1:$(port_of "$home" amqp)/%2f"
    print_export RELAYBOX_RABBITMQ_TLS_URL "amqps://$login@127.0.0.1:$(port_of "$home" amqps)/%2f"
    print_export RELAYBOX_RABBITMQ_GUEST "$RABBITMQ_GUEST"
    print_export RELAYBOX_RABBITMQ_CA_FILE "$home/tls/ca.pem"
    print_export RELAYBOX_RABBITMQ_OTHER_CA_FILE "$home/tls/other-ca.pem"
}

rabbitmq_packages() {
    rabbitmq_server >/dev/null || echo rabbitmq-server
    command -v openssl >/dev/null || echo openssl
}

# Prints the package's own start script: the one in the path insists on the package's user and folders.
rabbitmq_server() {
    local found
    found=$(printf '%s\n' /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server | sort -V | tail -n 1)
    [[ -x $found ]] && printf '%s\n' "$found"
}

rabbitmq_prepare() {
    local home
    home=$(rabbitmq_home)
    chmod 700 -- "$home"
    rabbitmq_after_stop
    # The same authority, names and addresses as the other broker's; the keys are our own.
    kafka_has_valid_certificates "$home/tls" || kafka_make_certificates "$home"
    [[ -s $home/password ]] || random_word >"$home/password"
    if [[ ! -s $home/.erlang.cookie ]]; then
        random_word >"$home/.erlang.cookie"
        chmod 400 -- "$home/.erlang.cookie"
    fi
    printf '[].\n' >"$home/enabled_plugins"
    rabbitmq_settings "$home" >"$home/rabbitmq.conf"
    rabbitmq_definitions "$(<"$home/password")" >"$home/definitions.json"
}

rabbitmq_settings() {
    local home=$1
    cat <<END
# Written by scripts/services at each start.
listeners.tcp.1 = 127.0.0.1:$(port_of "$home" amqp)
listeners.ssl.1 = 127.0.0.1:$(port_of "$home" amqps)
ssl_options.cacertfile = $home/tls/ca.pem
ssl_options.certfile = $home/tls/server.crt
ssl_options.keyfile = $home/tls/server.key
ssl_options.verify = verify_none
load_definitions = $home/definitions.json
END
}

rabbitmq_definitions() {
    local password=$1
    cat <<END
{
  "users": [
    {"name": "$RABBITMQ_USER", "password": "$password", "tags": "administrator"},
    {"name": "$RABBITMQ_GUEST", "password": "$password", "tags": ""}
  ],
  "vhosts": [{"name": "/"}],
  "permissions": [
    {"user": "$RABBITMQ_USER", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},
    {"user": "$RABBITMQ_GUEST", "vhost": "/", "configure": "^$", "write": "^$", "read": ".*"}
  ]
}
END
}

rabbitmq_start() {
    local home server
    home=$(rabbitmq_home)
    server=$(rabbitmq_server)
    # RUNNING_UNDER_SYSTEMD makes the script become the node rather than wait for it.
    start_detached "$home" env -u NOTIFY_SOCKET \
        HOME="$home" RUNNING_UNDER_SYSTEMD=true \
        ERL_EPMD_PORT="$(port_of "$home" epmd)" ERL_EPMD_ADDRESS=127.0.0.1 \
        RABBITMQ_NODENAME="$RABBITMQ_NODE" RABBITMQ_DIST_PORT="$(port_of "$home" distribution)" \
        RABBITMQ_CONFIG_FILE="$home/rabbitmq.conf" RABBITMQ_CONF_ENV_FILE="$home/none" \
        RABBITMQ_ENABLED_PLUGINS_FILE="$home/enabled_plugins" \
        RABBITMQ_MNESIA_BASE="$home/data" RABBITMQ_LOG_BASE="$home/logs" RABBITMQ_LOGS=- \
        RABBITMQ_PID_FILE="$home/node.pid" \
        "$server" -kernel inet_dist_use_interface '{127,0,0,1}' -relaybox "$(rabbitmq_mark)"
}

# It opens its ports last; an answer to the protocol's header is its Connection.Start, a frame of type 1.
rabbitmq_answers() {
    local port
    port=$(port_of "$(rabbitmq_home)" amqp) || return 1
    # shellcheck disable=SC2016
    [[ $(timeout 5 bash -c '
        exec 3<>"/dev/tcp/127.0.0.1/$1" && printf "AMQP\0\0\11\1" >&3 && head -c 1 <&3 | od -An -v -tx1 | tr -d " \n"
    ' ask "$port" 2>/dev/null) == 01 ]]
}

# The name server outlives its node.
rabbitmq_after_stop() {
    local port process
    port=$(port_of "$(rabbitmq_home)" epmd) || return 0
    for process in /proc/[0-9]*; do
        [[ $(cat "$process/comm" 2>/dev/null) == epmd ]] || continue
        grep -Fxzqs "ERL_EPMD_PORT=$port" "$process/environ" || continue
        kill -s KILL "${process#/proc/}" 2>/dev/null || true
        while [[ $(cat "$process/comm" 2>/dev/null) == epmd ]]; do sleep 0.05; done
    done
}
