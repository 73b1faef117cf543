#!/usr/bin/env bash
# Every kind of churn that a scheduler must survive, for about half a minute: wakeups, moving affinities, births and deaths,
# exec, switches, hogs, and all of them together. Everything started must come to its end.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# Tasks in flight count either way while they are read; what is lost stays.
readonly IN_FLIGHT=10

cpus=$(nproc)
at_rest() {
    local lost
    lost=$(stat lost)
    assert_enabled
    check '  and the tasks add up' "${lost:-no answer} in flight or lost" test "${lost:-999}" -le $IN_FLIGHT
}
stress() { # WHAT SECONDS ARGUMENTS...
    local what=$1 seconds=$2
    shift 2
    finishes "$what" timeout $((seconds + 60)) stress-ng --quiet --temp-path /tmp --timeout "$seconds" "$@"
    at_rest
}

start_mpg
finishes hackbench timeout 120 hackbench -g "$cpus" -l 40
at_rest
stress 'affinity churn' 5 --affinity "$((2 * cpus))" --affinity-rand --affinity-sleep 100000
stress 'fork storm' 5 --fork "$cpus" --fork-max 8
stress 'exec storm' 4 --exec "$cpus" --exec-max 4
stress 'switches' 4 --switch "$((2 * cpus))"
stress 'hogs' 4 --cpu "$((2 * cpus))" --cpu-method int64
hackbench -g 1 -l 300 >"$work/hackbench" 2>&1 &
background=$!
stress 'all at once' 10 --affinity "$cpus" --affinity-rand --fork "$cpus" --exec "$cpus" --exec-max 4 --switch "$cpus" --cpu "$cpus" --cpu-method int64
code=0
wait $background || code=$?
check 'hackbench among them finishes' "code $code" test $code = 0
entered=$(stat total_entered)
check 'the scheduler scheduled' "$entered tasks entered" test "${entered:-0}" -gt 1000
stop_mpg
assert_conserved
assert_dmesg_clean
finish
