# shellcheck shell=bash
# A MongoDB-compatible server on 127.0.0.1, in memory: mongo-java-server, which knows neither sessions nor transactions.
# No package registry has MongoDB itself; what needs it is tested where RELAYBOX_MONGODB_URL names a replica set. The
# jars come from Maven and are shared by checkouts.

readonly MONGODB_VERSION=1.47.0
readonly MONGODB_JARS=$CACHE/mongodb-compat-$MONGODB_VERSION
readonly MONGODB_FILES=$LIB/services/mongodb

mongodb_home() { printf '%s\n' "$STATE/mongodb"; }

mongodb_mark() { printf -- '-Drelaybox.home=%s\n' "$(mongodb_home)"; }

mongodb_ports() { echo mongodb; }

mongodb_signal() { if [[ $1 == graceful ]]; then echo TERM; else echo KILL; fi; }

mongodb_exports() {
    print_export RELAYBOX_MONGODB_COMPAT_URL "mongodb://127.0.0.1:$(port_of "$(mongodb_home)" mongodb)/?directConnection=true"
}

# The server's main class is compiled as it is started, which a JRE can't do.
mongodb_packages() {
    mongodb_javac >/dev/null || echo openjdk-17-jdk-headless
    [[ -d $MONGODB_JARS ]] || command -v mvn >/dev/null || echo maven
}

# Prints a Java compiler of version 17 or newer.
mongodb_javac() {
    local javac version
    for javac in "${JAVA_HOME:-/nowhere}/bin/javac" javac /usr/lib/jvm/*/bin/javac; do
        version=$("$javac" -version 2>&1 | sed -n 's/^javac \([0-9]*\).*/\1/p') || continue
        if [[ -n $version ]] && ((version >= 17)); then
            command -v "$javac"
            return
        fi
    done
    return 1
}

# Fetched aside and moved into place: another checkout may do the same at this time.
mongodb_fetch() {
    local new
    [[ ! -d $MONGODB_JARS ]] || return 0
    note "fetching mongo-java-server $MONGODB_VERSION with Maven"
    mkdir -p -- "$CACHE"
    find "$CACHE" -maxdepth 1 -name 'mongodb.??????' -mmin +60 -exec rm -rf -- {} + # given up halfway
    new=$(mktemp -d -- "$CACHE/mongodb.XXXXXX")
    mvn -B -f "$MONGODB_FILES/pom.xml" -Dmongodb.version="$MONGODB_VERSION" -DoutputDirectory="$new" \
        dependency:copy-dependencies </dev/null >"$new/log" 2>&1 || { tail -n 30 -- "$new/log" >&2 && rm -rf -- "$new"; }
    [[ -f $new/mongo-java-server-core-$MONGODB_VERSION.jar ]] || die 'Maven could not fetch mongo-java-server'
    chmod 755 -- "$new"
    mv -T -- "$new" "$MONGODB_JARS" 2>/dev/null || rm -rf -- "$new"
}

mongodb_prepare() {
    local home
    home=$(mongodb_home)
    rm -rf -- "$home/classes"
    "$(mongodb_javac)" -cp "$MONGODB_JARS/*" -d "$home/classes" "$MONGODB_FILES/CompatServer.java" \
        >"$home/javac.log" 2>&1 || { cat -- "$home/javac.log" >&2 && die 'cannot compile the main class'; }
}

mongodb_start() {
    local home java
    home=$(mongodb_home)
    java=$(mongodb_javac)
    start_detached "$home" "${java%c}" "$(mongodb_mark)" -Xms32m -Xmx256m -XX:+ExitOnOutOfMemoryError \
        -Djava.awt.headless=true -cp "$home/classes:$MONGODB_JARS/*" CompatServer "$(port_of "$home" mongodb)"
}

# OP_MSG (2013) with {ping: 1, $db: "admin"}: the answer is an OP_MSG, too.
mongodb_answers() {
    local port answer
    port=$(port_of "$(mongodb_home)" mongodb) || return 1
    # shellcheck disable=SC2016
    answer=$(timeout 5 bash -c '
        exec 3<>"/dev/tcp/127.0.0.1/$1" && printf "$2" >&3 && head -c 16 <&3 | od -An -v -tx1 | tr -d " \n"
    ' ask "$port" '\x33\0\0\0\1\0\0\0\0\0\0\0\xdd\7\0\0\0\0\0\0\0\x1e\0\0\0\x10ping\0\1\0\0\0\2$db\0\6\0\0\0admin\0\0' 2>/dev/null) || return 1
    [[ ${#answer} -eq 32 && $answer == *dd070000 ]]
}
