#!/usr/bin/env bash
# Prompt wakeups: who is expected to run briefly interrupts, who was interrupted has its CPU back with the rest of its
# slice, and nobody is interrupted again and again. Judged in virtual time (tests/guest/run).
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# INTERRUPT_EVERY_NS and INTERRUPT_EVERY_SYNC_NS of bpf/preempt.bpf.h, by the second and CPU.
readonly INTERRUPTS=5000 INTERRUPTS_SYNC=500
cpus=$(nproc)
last=$((cpus - 1))

ran_ms() { local ns && read -r ns _ <"/proc/$1/schedstat" && echo $((ns / 1000000)); }
figure() { sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p" "$work/bench.json"; }

# A server's threads run for 10 us when they are handed a request and for most of a millisecond after it came: on
# average they are normal, and besides their messengers only what is expected of each wakeup makes the first kind prompt.
served() { # NAME SHORT_RUN_US: adds to its sum of interruptions per 1000 requests
    local before
    "$bin/scx_mpg" set --short-run-us "$2" >/dev/null
    before=$(stat interruptions)
    finishes "a server, short runs $1" "$bin/mpg-bench" wake -m 2 -t 4 -F 16 -n 1 -r 1 --json "$work/bench.json"
    sum[$1]=$((${sum[$1]:-0} + (1000 * ($(stat interruptions) - before)) / ($(figure requests) + 1)))
}
# A round finds one of two ways to share the CPUs: some 1150 or some 880 interruptions with expectations, 690 without.
readonly ROUNDS=4
declare -A sum
start_mpg
for ((round = 0; round < ROUNDS; round++)); do
    served expected 100
    served without 0
done
expected=$((sum[expected] / ROUNDS))
without=$((sum[without] / ROUNDS))
check 'who is expected to run briefly interrupts' "$expected of 1000 requests, $without without" \
    test $((expected >= 50 && 4 * expected >= 5 * without)) = 1
"$bin/scx_mpg" set --short-run-us 100 >/dev/null

# Two hogs and a timer on one CPU. With a fresh slice after each interruption the first hog would never be through.
hogs=()
for _ in 1 2; do
    taskset -c $last bash -c 'while :; do :; done' &
    hogs+=($!)
done
taskset -c $last "$bin/mpg-bench" timer -t 1 -i 1000 -r 60 >/dev/null 2>&1 &
timer=$!
sleep 0.3
read -r preemptions interruptions overdue < <(stat preemptions interruptions overdue)
from=("$(ran_ms "${hogs[0]}")" "$(ran_ms "${hogs[1]}")")
sleep 1
first=$(($(ran_ms "${hogs[0]}") - from[0]))
second=$(($(ran_ms "${hogs[1]}") - from[1]))
read -r preemptions_after interruptions_after overdue_after < <(stat preemptions interruptions overdue)
preempted=$((preemptions_after - preemptions))
resumed=$((interruptions_after - interruptions))
check 'a timer interrupts hogs' "$preempted times in a second" test $preempted -ge 500
check '  who have their CPU back' "$resumed times" test $resumed -ge $((preempted * 9 / 10))
check '  with the rest of their slice' "$first and $second ms, $((overdue_after - overdue)) overdue" \
    test $((3 * first >= 2 * second && 3 * second >= 2 * first && overdue_after == overdue)) = 1
kill -KILL $timer

# Timers that are due 20 times in a millisecond.
taskset -c $last "$bin/mpg-bench" timer -t 2 -i 100 -d 7 -r 60 >/dev/null 2>&1 &
timer=$!
sleep 0.3
preemptions=$(stat preemptions)
begun=$(now_ms)
sleep 1
preempted=$(($(stat preemptions) - preemptions))
bound=$((105 * INTERRUPTS * ($(now_ms) - begun) / 100000))
kill -KILL $timer "${hogs[@]}"
check 'a CPU is not interrupted again and again' "$preempted times, $bound allowed" test $((preempted > 0 && preempted <= bound)) = 1

# Messages, whose senders wake synchronously.
preemptions=$(stat preemptions)
begun=$(now_ms)
finishes messages "$bin/mpg-bench" messaging -g 2 -l 100
bound=$((105 * cpus * INTERRUPTS_SYNC * ($(now_ms) - begun) / 100000))
preempted=$(($(stat preemptions) - preemptions))
check '  interrupt even less' "$preempted times, $bound allowed" test $preempted -le "$bound"
assert_enabled
stop_mpg
assert_conserved
assert_dmesg_clean
finish
