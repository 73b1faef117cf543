#!/usr/bin/env bash
# The daemon dies under full load, by a signal that it cannot catch or does not: the machine is back on its own
# scheduler, everything that ran still runs, and the next one loads over what was left behind.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

die() { # SIGNAL: of the daemon, until it is dead; sets code
    local deadline=$((SECONDS + PATIENCE_S))
    # The first SIGSEGV that no access made only takes Rust's handler away, which asks where the access was.
    while kill -s "$1" "$mpg" 2>/dev/null && [[ $SECONDS -lt $deadline && $(state) == enabled ]]; do
        sleep 0.1
    done
    code=0
    wait "$mpg" 2>/dev/null || code=$?
    mpg=
}

for signal in KILL SEGV ABRT; do
    start_mpg || break
    full_load 600
    sleep 1.5
    assert_enabled
    begun=$(now_ms)
    die $signal
    wait_state disabled
    took=$(($(now_ms) - begun))
    check "SIG$signal ends it" "code $code" test "$code" = $((128 + $(kill -l $signal)))
    check '  and the machine is handed back' "$(state) after $took ms" test "$(state)" = disabled
    running=$(jobs -pr | wc -l)
    check '  what ran still runs' "$running loads" test "$running" = 2
    finishes '  and the kernel serves it' timeout 60 hackbench -g 1 -l 10
    assert_dmesg_clean
    end_loads
done

start_mpg
finishes 'the next one schedules' timeout 60 hackbench -g 1 -l 10
assert_enabled
stop_mpg
assert_conserved
finish
