#!/usr/bin/env bash
# The whole user half stands still for 3 s under load, as in a debugger: the kernel half goes on alone.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

readonly STOPPED_S=3

start_mpg
hogs 60
sleep 1
read -r fallbacks decisions_before < <(stat total_fallbacks decisions)
kill -STOP $mpg
begun=$SECONDS
finishes 'hackbench with the workers stopped' timeout 60 hackbench -g 2 -l 20
assert_enabled
while [[ $((SECONDS - begun)) -lt $STOPPED_S ]]; do sleep 0.1; done
stopped_for=$((SECONDS - begun))
assert_enabled
kill -CONT $mpg
sleep 0.5
read -r fallbacks_after decisions < <(stat total_fallbacks decisions)
check "the kernel half took over, $stopped_for s" "$fallbacks fallbacks before, $fallbacks_after after" test "$fallbacks_after" -gt "$fallbacks"
check 'the workers had decided before' "$decisions_before" test "$decisions_before" -gt 0
finishes 'hackbench after' timeout 60 hackbench -g 2 -l 20
sleep 1
decisions_after=$(stat decisions)
in_fallback=$(stat | grep -c '"fallback": 1')
check 'the workers decide again' "$decisions decisions, then $decisions_after" test "$decisions_after" -gt "$decisions"
check 'no node is left in fallback' "$in_fallback" test "$in_fallback" = 0
assert_enabled
stop_mpg
assert_conserved
assert_dmesg_clean
finish
