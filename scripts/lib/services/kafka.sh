# shellcheck shell=bash
# Apache Kafka on 127.0.0.1: one KRaft node, with a port for each of PLAINTEXT, SASL_PLAINTEXT, SSL and SASL_SSL (PLAIN
# and SCRAM). The jars come from Maven and are shared by checkouts.

readonly KAFKA_VERSION=4.4.0
readonly KAFKA_JARS=$CACHE/kafka-$KAFKA_VERSION
readonly KAFKA_FILES=$LIB/services/kafka

# Both have the same password. Without ACLs everybody may do everything; `relaybox` and those who do not log in may
# whatever the ACLs say, `guest` may not.
readonly KAFKA_USER=relaybox KAFKA_GUEST=guest

kafka_home() { printf '%s\n' "$STATE/kafka"; }

kafka_mark() { printf -- '-Drelaybox.home=%s\n' "$(kafka_home)"; }

kafka_ports() { echo plaintext sasl_plaintext ssl sasl_ssl controller; }

kafka_signal() { if [[ $1 == graceful ]]; then echo TERM; else echo KILL; fi; }

kafka_address() { printf '127.0.0.1:%s\n' "$(port_of "$(kafka_home)" "$1")"; }

kafka_exports() {
    local home
    home=$(kafka_home)
    print_export RELAYBOX_KAFKA_BROKERS "$(kafka_address plaintext)"
    print_export RELAYBOX_KAFKA_SASL_BROKERS "$(kafka_address sasl_plaintext)"
    print_export RELAYBOX_KAFKA_SSL_BROKERS "$(kafka_address ssl)"
    print_export RELAYBOX_KAFKA_SASL_SSL_BROKERS "$(kafka_address sasl_ssl)"
    print_export RELAYBOX_KAFKA_USER "$KAFKA_USER"
    print_export RELAYBOX_KAFKA_GUEST "$KAFKA_GUEST"
    print_export RELAYBOX_KAFKA_PASSWORD "$(<"$home/password")"
    print_export RELAYBOX_KAFKA_CA_FILE "$home/tls/ca.pem"
    print_export RELAYBOX_KAFKA_OTHER_CA_FILE "$home/tls/other-ca.pem"
}

kafka_packages() {
    kafka_java >/dev/null || echo openjdk-17-jre-headless
    command -v openssl >/dev/null || echo openssl
    [[ -d $KAFKA_JARS ]] || command -v mvn >/dev/null || echo maven
}

# Prints a Java of version 17 or newer.
kafka_java() {
    local java version
    for java in "${JAVA_HOME:-/nowhere}/bin/java" java /usr/lib/jvm/*/bin/java; do
        version=$("$java" -XshowSettings:properties -version 2>&1 | sed -n 's/.*java.specification.version = //p') ||
            continue
        if [[ $version =~ ^[0-9]+$ ]] && ((version >= 17)); then
            command -v "$java"
            return
        fi
    done
    return 1
}

# Fetched aside and moved into place: another checkout may do the same at this time.
kafka_fetch() {
    local new
    [[ ! -d $KAFKA_JARS ]] || return 0
    note "fetching Kafka $KAFKA_VERSION with Maven"
    mkdir -p -- "$CACHE"
    find "$CACHE" -maxdepth 1 -name 'kafka.??????' -mmin +60 -exec rm -rf -- {} + # given up halfway
    new=$(mktemp -d -- "$CACHE/kafka.XXXXXX")
    mvn -B -f "$KAFKA_FILES/pom.xml" -Dkafka.version="$KAFKA_VERSION" -DoutputDirectory="$new" \
        dependency:copy-dependencies </dev/null >"$new/log" 2>&1 || { tail -n 30 -- "$new/log" >&2 && rm -rf -- "$new"; }
    [[ -f $new/kafka_2.13-$KAFKA_VERSION.jar ]] || die 'Maven could not fetch Kafka'
    chmod 755 -- "$new"
    mv -T -- "$new" "$KAFKA_JARS" 2>/dev/null || rm -rf -- "$new"
}

kafka_prepare() {
    local home
    home=$(kafka_home)
    chmod 700 -- "$home"
    kafka_has_valid_certificates "$home/tls" || kafka_make_certificates "$home"
    [[ -d $home/data ]] || kafka_make_data "$home"
    kafka_settings data >"$home/server.properties"
}

# The clock of a machine that is started from an image may have jumped, so the dates are looked at too.
kafka_has_valid_certificates() {
    openssl verify -CAfile "$1/ca.pem" "$1/server.crt" >/dev/null 2>&1
}

kafka_make_certificates() {
    local home=$1 config=$KAFKA_FILES/openssl.cnf name
    rm -rf -- "$home/tls.new" "$home/tls"
    mkdir -- "$home/tls.new"
    (
        cd -- "$home/tls.new" || exit
        new_key=(openssl req -config "$config" -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
        for name in ca other-ca; do
            "${new_key[@]}" -x509 -extensions ca -subj "/CN=relaybox $name" -days 3650 \
                -keyout "$name.key" -out "$name.pem"
        done
        "${new_key[@]}" -subj /CN=localhost -keyout server.key -out server.csr
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -set_serial 1 -days 3650 \
            -extfile "$config" -extensions server -out server.crt
        cat server.key server.crt ca.pem >server.pem
    ) >"$home/openssl.log" 2>&1 || true
    kafka_has_valid_certificates "$home/tls.new" || { cat -- "$home/openssl.log" >&2 && die 'cannot make certificates'; }
    mv -T -- "$home/tls.new" "$home/tls"
}

# Made aside and moved into place, so that half-made data is never taken for whole.
kafka_make_data() {
    local home=$1 java password cluster
    note 'making a new Kafka cluster'
    rm -rf -- "$home/data.new"
    [[ -s $home/password ]] || random_word >"$home/password"
    password=$(<"$home/password")
    cluster=$(head -c 16 /dev/urandom | base64 | tr -d '=' | tr '+/' 'AB')
    java=$(kafka_java)
    kafka_settings data.new >"$home/format.properties"
    (
        cd -- "$home" && "$java" -cp "$KAFKA_JARS/*" kafka.tools.StorageTool format -t "$cluster" -c format.properties \
            --add-scram "SCRAM-SHA-512=[name=$KAFKA_USER,password=$password]" \
            --add-scram "SCRAM-SHA-512=[name=$KAFKA_GUEST,password=$password]"
    ) </dev/null >"$home/format.log" 2>&1 || { cat -- "$home/format.log" >&2 && die 'cannot format the Kafka data'; }
    mv -T -- "$home/data.new" "$home/data"
}

# Paths are relative to the home, where the broker runs: they need no escapes.
kafka_settings() {
    local data=$1 password controller
    password=$(<"$(kafka_home)/password")
    controller=$(kafka_address controller)
    cat <<EOF
# Written by scripts/services at each start.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@$controller
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners=$(kafka_listeners),CONTROLLER://$controller
advertised.listeners=$(kafka_listeners)
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL
log.dirs=$data

sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
$(kafka_login_settings sasl_plaintext "$password")
$(kafka_login_settings sasl_ssl "$password")
ssl.keystore.type=PEM
ssl.keystore.location=tls/server.pem
ssl.client.auth=none
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
super.users=User:ANONYMOUS;User:$KAFKA_USER

auto.create.topics.enable=false
num.partitions=1
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
group.initial.rebalance.delay.ms=0
# A broker that was killed may only come back when its old session has ended.
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=4000
log.cleaner.dedupe.buffer.size=16777216
EOF
}

kafka_listeners() {
    printf 'PLAINTEXT://%s,SASL_PLAINTEXT://%s,SSL://%s,SASL_SSL://%s' "$(kafka_address plaintext)" \
        "$(kafka_address sasl_plaintext)" "$(kafka_address ssl)" "$(kafka_address sasl_ssl)"
}

kafka_login_settings() {
    local listener=$1 password=$2 package=org.apache.kafka.common.security
    cat <<EOF
listener.name.$listener.plain.sasl.jaas.config=$package.plain.PlainLoginModule required user_$KAFKA_USER="$password" user_$KAFKA_GUEST="$password";
listener.name.$listener.scram-sha-512.sasl.jaas.config=$package.scram.ScramLoginModule required;
EOF
}

kafka_start() {
    local home java
    home=$(kafka_home)
    java=$(kafka_java)
    start_detached "$home" "$java" "$(kafka_mark)" -Xms128m -Xmx384m -XX:+ExitOnOutOfMemoryError -Djava.awt.headless=true \
        -Dlog4j2.configurationFile="$KAFKA_FILES/log4j2.properties" \
        -cp "$KAFKA_JARS/*" kafka.Kafka server.properties
}

# The broker is in the cluster's metadata, the coordinators of groups and transactions have their topics (a new broker
# makes them only when first asked, which would slow the first test), and the other ports accept.
kafka_answers() {
    local home port name
    home=$(kafka_home)
    port=$(port_of "$home" plaintext) || return 1
    kafka_has_brokers "$port" && kafka_has_coordinator "$port" 0 && kafka_has_coordinator "$port" 1 || return 1
    for name in sasl_plaintext ssl sasl_ssl; do
        port=$(port_of "$home" "$name") && kafka_accepts "$port" || return 1
    done
}

# Metadata v1 of no topic: after the correlation id comes the number of brokers.
kafka_has_brokers() {
    local answer
    answer=$(kafka_ask "$1" '0003 0001 00000001 ffff  00000000' 12) || return 1
    [[ ${#answer} -eq 24 && $answer != *00000000 ]]
}

# FindCoordinator v1 with the key "x" and the type 0 (group) or 1 (transaction): after the correlation id and the
# throttle time comes the error.
kafka_has_coordinator() {
    local answer
    answer=$(kafka_ask "$1" "000a 0001 00000001 ffff  0001 78 0$2" 14) || return 1
    [[ ${#answer} -eq 28 && $answer == *0000 ]]
}

kafka_accepts() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Sends a request, in hexadecimal, and prints that many bytes of the answer, its length first.
kafka_ask() {
    local port=$1 request=${2// /} bytes=$3 message
    printf -v message '%08x%s' $((${#request} / 2)) "$request"
    # shellcheck disable=SC2001,SC2016
    timeout 5 bash -c '
        exec 3<>"/dev/tcp/127.0.0.1/$1" && printf "$2" >&3 && head -c "$3" <&3 | od -An -v -tx1 | tr -d " \n"
    ' ask "$port" "$(sed 's/../\\x&/g' <<<"$message")" "$bytes" 2>/dev/null
}
