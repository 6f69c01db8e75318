# shellcheck shell=bash
# A schema registry with Confluent's API on 127.0.0.1: Apicurio, which keeps its schemas in memory, so that a restart
# empties it. The archive comes from Maven and is shared by checkouts. Newer versions than this need Java 21.

# shellcheck source=/dev/null
source "$LIB/python.sh"

readonly REGISTRY_VERSION=3.0.9
readonly REGISTRY_FILES=$CACHE/registry-$REGISTRY_VERSION

registry_home() { printf '%s\n' "$STATE/registry"; }

registry_mark() { printf -- '-Drelaybox.home=%s\n' "$(registry_home)"; }

registry_ports() { echo http; }

registry_signal() { if [[ $1 == graceful ]]; then echo TERM; else echo KILL; fi; }

registry_url() { printf 'http://127.0.0.1:%s/apis/ccompat/v7\n' "$(port_of "$(registry_home)" http)"; }

registry_exports() {
    print_export RELAYBOX_REGISTRY_URL "$(registry_url)"
    # Where Confluent's own client for Python could not be installed, the tests that need it are skipped.
    ! python_has_client || print_export RELAYBOX_PYTHON "$PYTHON_CLIENT/bin/python"
}

registry_packages() {
    # The same Java as the broker's.
    kafka_java >/dev/null || echo openjdk-17-jre-headless
    command -v curl >/dev/null || echo curl
    [[ -d $REGISTRY_FILES ]] || command -v mvn >/dev/null || echo maven
    python_packages
}

# Fetched aside and moved into place: another checkout may do the same at this time.
registry_fetch() {
    local new artifact=io.apicurio:apicurio-registry-app:$REGISTRY_VERSION:tar.gz:all
    python_fetch
    [[ ! -d $REGISTRY_FILES ]] || return 0
    note "fetching the schema registry Apicurio $REGISTRY_VERSION with Maven"
    mkdir -p -- "$CACHE"
    find "$CACHE" -maxdepth 1 -name 'registry.??????' -mmin +60 -exec rm -rf -- {} + # given up halfway
    new=$(mktemp -d -- "$CACHE/registry.XXXXXX")
    # Version 2.8 of the plugin has `dest`; newer ones resolve the parent, which is not published.
    mvn -B org.apache.maven.plugins:maven-dependency-plugin:2.8:get -Dartifact="$artifact" -Dtransitive=false \
        -Ddest="$new/all.tar.gz" </dev/null >"$new/log" 2>&1 || tail -n 30 -- "$new/log" >&2
    [[ ! -f $new/all.tar.gz ]] || tar -xzf "$new/all.tar.gz" -C "$new"
    rm -f -- "$new/all.tar.gz"
    [[ -n $(registry_jar "$new") ]] || { rm -rf -- "$new" && die 'Maven could not fetch the schema registry'; }
    chmod 755 -- "$new"
    mv -T -- "$new" "$REGISTRY_FILES" 2>/dev/null || rm -rf -- "$new"
}

registry_jar() { find "$1" -maxdepth 2 -name 'apicurio-registry-app-*-runner.jar' -print -quit; }

# It is configured by the command line.
registry_prepare() { chmod 700 -- "$(registry_home)"; }

registry_start() {
    local home java
    home=$(registry_home)
    java=$(kafka_java)
    start_detached "$home" "$java" "$(registry_mark)" -Xms64m -Xmx384m -XX:+ExitOnOutOfMemoryError \
        -Djava.awt.headless=true -Dquarkus.http.host=127.0.0.1 -Dquarkus.http.port="$(port_of "$home" http)" \
        -Dapicurio.ccompat.max-subjects=100000 \
        -jar "$(registry_jar "$REGISTRY_FILES")"
}

# Confluent's registry demands BACKWARD compatibility unless told otherwise, this one demands nothing.
registry_answers() {
    local config
    config=$(registry_ask /config) || return 1
    [[ $config != *'"NONE"'* ]] || registry_ask /config -X PUT -H 'content-type: application/json' \
        -d '{"compatibility":"BACKWARD"}' >/dev/null
}

registry_ask() {
    local path=$1
    shift
    curl --fail --silent --noproxy '*' --max-time 5 "$@" "$(registry_url)$path" 2>/dev/null
}
