#!/usr/bin/env bash
# From a queue for each node to one for the machine and back, again and again, under load: whoever waits at
# that moment is found, be it bound to a node whose CPUs do not serve that queue any more.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

last_node=$(value_of "/sys/devices/system/node/node$(($(find /sys/devices/system/node/node* -maxdepth 0 | wc -l) - 1))/cpulist")

start_mpg
"$bin/mpg-bench" wake -m 2 -t 4 -F 16 -n 1 -r 120 >/dev/null 2>&1 &
# More than the last node has CPUs, and they never sleep: a CPU that looks elsewhere for them has to find them.
bound=()
for _ in 1 2 3; do
    taskset -c "$last_node" bash -c 'while :; do :; done' &
    bound+=($!)
done
chrt --idle 0 taskset -c "$last_node" bash -c 'while :; do :; done' &
stress-ng --quiet --temp-path /tmp --affinity 2 --affinity-rand --affinity-sleep 100000 --timeout 120 &
sleep 1
begun=$SECONDS
for ((change = 1; change <= 3; change++)); do
    for policy in global mpg; do
        "$bin/scx_mpg" set --policy $policy >/dev/null || check "change $change to $policy" refused false
        sleep 0.0$change
    done
done
check 'the queues change' "6 times in $((SECONDS - begun)) s" test $change = 4
assert_enabled

before=()
for hog in "${bound[@]}"; do before+=("$(ticks "$hog")"); done
sleep 3
least=999999
for at in "${!bound[@]}"; do
    got=$(($(ticks "${bound[at]}") - before[at]))
    [[ $got -ge $least ]] || least=$got
done
check 'nobody bound to a node is left behind' "the least of them ran for $((10 * least)) ms in 3 s" test "$least" -gt 0

"$bin/scx_mpg" set --policy global >/dev/null
finishes 'a load in one queue' timeout 60 hackbench -g 1 -l 5
last=$(($(nproc --all) - 1))
echo 0 >/sys/devices/system/cpu/cpu$last/online
sleep 0.5
echo 1 >/sys/devices/system/cpu/cpu$last/online
finishes 'a load after a CPU came and went' timeout 60 hackbench -g 1 -l 5
assert_enabled
stop_mpg
assert_conserved
assert_dmesg_clean
finish
