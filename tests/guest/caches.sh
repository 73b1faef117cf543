#!/usr/bin/env bash
# Where a node has several last-level caches, who is woken and finds its CPU busy gets an idle one under the same cache.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# Of the other CPUs of a node two thirds are under its other cache, and so many of the moves went there without the rule.
readonly MOST_PERCENT=33
node0=$(value_of /sys/devices/system/node/node0/cpulist)
tracing=/sys/kernel/tracing

cache() { value_of "/sys/devices/system/cpu/cpu$1/cache/index3/shared_cpu_list"; }

# How many moves within a node the kernel recorded, and how many of those from one cache to another.
moves() {
    local from to in_node=0 across=0
    while read -r from to; do
        [[ ${node_of[from]} == "${node_of[to]}" ]] || continue
        in_node=$((in_node + 1))
        [[ ${cache_of[from]} == "${cache_of[to]}" ]] || across=$((across + 1))
    done < <(sed -n 's/.*sched_migrate_task:.* orig_cpu=\([0-9]*\) dest_cpu=\([0-9]*\)$/\1 \2/p' $tracing/trace)
    echo $in_node $across
}

keeps_near() { # WHAT COMMAND...
    local what=$1 in_node across before
    shift
    before=$(stat migrations_llc | cut -d . -f 1)
    echo >$tracing/trace
    echo 1 >$tracing/events/sched/sched_migrate_task/enable
    finishes "$what" "$@"
    echo 0 >$tracing/events/sched/sched_migrate_task/enable
    read -r in_node across < <(moves)
    check '  leaves its caches seldom' "$across of $in_node moves in a node, $(($(stat migrations_llc | cut -d . -f 1) - before)) counted" \
        test $((in_node >= 100 && 100 * across <= MOST_PERCENT * in_node)) = 1
}

for ((cpu = 0; cpu < $(nproc); cpu++)); do
    cache_of[cpu]=$(cache $cpu)
    node_of[cpu]=$(basename /sys/devices/system/cpu/cpu$cpu/node*)
done
check 'a node has two caches' "${cache_of[*]}" test "${cache_of[*]}" = '0-1 0-1 2-3 2-3 4-5 4-5 6-7 6-7'
start_mpg
keeps_near 'a server' "$bin/mpg-bench" wake -m 1 -t 2 -F 16 -n 1 -r 2
keeps_near 'one bound to a node' taskset -c "$node0" "$bin/mpg-bench" wake -m 1 -t 2 -F 16 -n 1 -r 2
assert_enabled
stop_mpg
assert_conserved
assert_dmesg_clean
finish
