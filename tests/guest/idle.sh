#!/usr/bin/env bash
# No CPU idles for long while a task waits that may run there: every switch is recorded and played back (mpg-bench --idle).
# What is promised is 1 ms until the idle CPU is woken. In virtual time, where tests/guest/run judges it, sysmon and that
# CPU then wait for their turns, some 0.4 to 1.4 ms each: so what is told beyond 1 ms is not 0, but has a bound.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# Bounds in parts of ten thousand of the time of all CPUs.
readonly LONGEST_MS=5 HOMED=100 HOMELESS=12
seconds=${MPG_IDLE_S:-3}
figure() { sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p" "$work/bench.json"; }

never_idle() { # WHAT BOUND ARGUMENTS...: of mpg-bench
    local what=$1 bound=$2 idle longest lost
    shift 2
    finishes "$what" "$bin/mpg-bench" "$@" -r "$seconds" --idle --json "$work/bench.json"
    idle=$(figure idle_while_runnable_ms)
    longest=$(figure longest_idle_while_runnable_ms)
    lost=$(figure idle_records_lost)
    check '  leaves no CPU idle for long' "$idle ms in $seconds s, one for $longest ms, $lost records lost" \
        test $((10 * idle <= bound * seconds * $(nproc) && longest < LONGEST_MS && lost == 0)) = 1
}

start_mpg
# The records make the process large enough for a memory home: all of its threads want to be on one node.
never_idle 'a server' $HOMED wake -m 2 -t "$(nproc)" -F 16 -n 1
stress-ng --quiet --temp-path /tmp --cpu "$(($(nproc) - 1))" --cpu-method int64 --timeout 600 &
hogs=$!
never_idle 'a server beside hogs' $HOMED wake -m 2 -t "$(nproc)" -F 16 -n 1
kill -INT $hogs
assert_enabled
stop_mpg
assert_conserved
assert_dmesg_clean
# Nobody has a home here: who waits is taken once he is late, not sooner, and just then.
start_mpg --memory-permille 0
never_idle 'a server without a home' $HOMELESS wake -m 2 -t "$(nproc)" -F 16 -n 1
stop_mpg
assert_conserved
finish
