#!/usr/bin/env bash
# What the scheduler tells of itself, by every way there is.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

reports() { grep -c '^scx_mpg mpg: ' "$1"; }

finishes '--version' "$bin/scx_mpg" --version
check '--version' "$(cat "$work/out")" grep -q "kernel $(uname -r)" "$work/out"
finishes '--help-stats' "$bin/scx_mpg" --help-stats
for counter in entered started cancelled decisions fallbacks lost; do
    check "  describes $counter" "$(grep "^ *$counter *(" "$work/out" | tr -s ' ')" grep -q "^ *$counter *(" "$work/out"
done
refused '--monitor with none running' 'no scx_mpg is running' "$bin/scx_mpg" --monitor 1
refused 'stats with none running' 'no scx_mpg is running' "$bin/scx_mpg" stats

start_mpg --stats 0.5

read -r created_before exited_before < <(stat created exited)
for _ in {1..500}; do (:); done
# Some kernels let go of the dead when nobody can look at them any more.
deadline=$((SECONDS + 10))
until read -r created exited < <(stat created exited) && [[ $((exited - exited_before)) -ge 500 || $SECONDS -ge $deadline ]]; do sleep 0.1; done
created=$((created - created_before)) exited=$((exited - exited_before))
# What looks is created, too.
check '500 children are created' "$created" test $((created >= 500 && created <= 600)) = 1
check '  and exit' "$exited" test $((exited >= 500 && exited <= created + 20)) = 1

full_load 60
timeout -s INT 4 "$bin/scx_mpg" --monitor 0.5 >"$work/monitor" 2>&1
check '--monitor reports' "$(reports "$work/monitor") reports in 4 s" test "$(reports "$work/monitor")" -ge 3
check '--stats reports' "$(reports "$log") reports" test "$(reports "$log")" -ge 3
stat >"$work/json"
read -r entered decisions activations < <(stat entered decisions activations)
check 'JSON has what was counted' "$entered entered, $decisions decisions in $activations activations" test "$((entered > 0 && decisions > 0 && activations > 0))" = 1
refused 'statistics of no name' 'no field none' "$bin/scx_mpg" stats entered none
nodes=$(find /sys/devices/system/node -maxdepth 1 -name 'node[0-9]*' | wc -l)
check '  and every node' "$(grep -c '"vclock_ns"' "$work/json") of $nodes" test "$(grep -c '"vclock_ns"' "$work/json")" = "$nodes"
assert_enabled
stop_mpg
assert_conserved

# Four on one CPU: each waits for three slices.
refused '--scheddetail by itself' '--schedtrace' "$bin/scx_mpg" --scheddetail
refused '--schedtrace of 0 ms' 'give 10 to' "$bin/scx_mpg" --schedtrace 0
end_loads
start_mpg --schedtrace 200 --scheddetail
hogs=
for _ in 1 2 3 4; do
    taskset -c 0 bash -c 'exec -a hog bash -c "while :; do :; done"' &
    hogs+=${hogs:+|}$!
done
sleep 3
stop_mpg
trace="SCHED [0-9]*ms: gomaxprocs=$(nproc) idleprocs=[0-9]* threads=$nodes spinningthreads=[0-9]* runqueue=[0-9]* \[[0-9 ]*\]"
check '--schedtrace prints a line in Go'"'"'s form' "$(grep -c "^$trace\$" "$log") of $(grep -c ^SCHED "$log")" \
    test "$(grep -c "^$trace\$" "$log")" = "$(grep -c ^SCHED "$log")" -a "$(grep -c ^SCHED "$log")" -ge 5
check '  with each worker' "$(grep -m 1 '^  P' "$log")" test "$(grep -c '^  P' "$log")" = $((nodes * $(grep -c ^SCHED "$log")))
check '  with each CPU' "$(grep -m 1 '^  M' "$log")" test "$(grep -c '^  M' "$log")" = $(($(nproc) * $(grep -c ^SCHED "$log")))
# Whichever it is: their turns may keep step with the trace, which then sees one of them at the same point of its turn.
long="^  G($hogs): status=pinned only=0 m=0 waited=[0-9]*ms"
check '  and who waits long' "$(grep -E "$long" "$log" | tail -n 1)" grep -Eq "$long" "$log"
assert_conserved
assert_dmesg_clean
finish
