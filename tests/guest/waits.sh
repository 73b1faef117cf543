#!/usr/bin/env bash
# What is told of waits and lives: timers wait for next to nothing beside hogs, hogs for each other's slices, who finds an idle
# CPU for nobody, and who sleeps for 200 ms lives for as long. Judged in virtual time (tests/guest/run).
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# of CLASS FIELD: a whole number, 0 if there is none.
of() { sed -n "/\"$1\": {/,/}/s/.*\"$2\": \([0-9]*\).*/\1/p" "$work/json" | grep . || echo 0; }
tell() { stat >"$work/json"; }

start_mpg
sleep 0.5
tell
check 'on an idle machine most wait for nobody' "p50 $(of normal wait_p50_us) us of $(of normal starts) runs" \
    test $(($(of normal starts) > 0 && $(of normal wait_p50_us) == 0)) = 1

# Percentiles are since the load, and few others come and go. They are off by an eighth at most.
for _ in 1 2; do
    sleepers=()
    for _ in {1..20}; do
        sleep 0.2 &
        sleepers+=($!)
    done
    wait "${sleepers[@]}"
done
tell
of_whole() { sed -n "s/^  \"$1\": \([0-9]*\).*/\1/p" "$work/json"; }
check 'who sleeps for 200 ms lives for as long' "p50 $(of_whole lifetime_p50_ms) ms, p99 $(of_whole lifetime_p99_ms) ms of $(of_whole exited)" \
    test $(($(of_whole lifetime_p50_ms) >= 175 && $(of_whole lifetime_p50_ms) <= 240 && $(of_whole lifetime_p99_ms) >= $(of_whole lifetime_p50_ms))) = 1

finishes 'timers beside hogs' "$bin/mpg-bench" mix -r 2
tell
for class in latency batch; do
    seen=("$(of $class starts)" "$(of $class wait_p50_us)" "$(of $class wait_p99_us)" "$(of $class wait_p999_us)")
    check "  $class" "${seen[0]} runs, waits of ${seen[1]}, ${seen[2]} and ${seen[3]} us" \
        test $((seen[0] >= 100 && seen[1] <= seen[2] && seen[2] <= seen[3])) = 1
done
check '  who is prompt waits less' "p99 $(of latency wait_p99_us) us, of hogs $(of batch wait_p99_us) us" \
    test $((4 * $(of latency wait_p99_us) < $(of batch wait_p99_us))) = 1
# Two hogs a CPU take turns, each for a slice at least.
slice_us=$(setting slice_us)
check '  and hogs for a slice at most times' "p99 $(of batch wait_p99_us) us" test "$(of batch wait_p99_us)" -ge "${slice_us:-5000}"
check '  who use theirs' "$(of batch slice_use_pct)%, timers $(of latency slice_use_pct)%" \
    test $(($(of batch slice_use_pct) >= 50 && $(of latency slice_use_pct) <= 50)) = 1
stop_mpg
assert_conserved
assert_dmesg_clean
finish
