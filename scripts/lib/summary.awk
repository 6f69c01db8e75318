# The output of `cargo test -- --show-output`, short: a line for each test program, and what its failed tests said.

/^ +Running |^ +Doc-tests / { program = $0; sub(/^ +/, "", program); sub(/ \(.*/, "", program) }
/^successes:$/ { failing = 0 }
/^failures:$/ { failing = 1 }
/^test result: / {
    failing = 0
    if ($4 + 0 > 0 || $0 !~ /ok\./) {
        sub(/^test result: /, "")
        printf "%s: %s\n", program, $0
    }
}
failing { print substr($0, 1, 400) }
{ fflush() }
