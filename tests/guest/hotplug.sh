#!/usr/bin/env bash
# CPUs go and come back under every kind of load; the scheduler stays, nobody is left behind, and it unloads.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

last=$(($(nproc --all) - 1))

turn() { # CPU 0|1: takes a CPU offline or online, within a time that nobody would complain of
    local begun online=/sys/devices/system/cpu/cpu$1/online took
    begun=$(now_ms)
    echo "$2" >"$online"
    took=$(($(now_ms) - begun))
    check "CPU $1 to $2" "$(cat "$online") after $took ms, $(state)" test "$(cat "$online") $(state) $((took < 10000))" = "$2 enabled 1"
    sleep 0.2
}

allowed() { sed -n 's/^Cpus_allowed_list:\t//p' "/proc/$1/status"; }

worker_cpus() { # NODE: those that its worker may run on
    local thread name
    for thread in "/proc/$mpg/task/"*; do
        read -r name <"$thread/comm"
        [[ $name != "mpg-worker/$1" ]] || allowed "$mpg/task/${thread##*/}"
    done
}

# Linux 6.18 waits for a grace period of RCU tasks trace where it frees task storage (bpf_map_free_deferred), the grace
# period waits for hotplug (cpus_read_lock), and hotplug for the thread that frees, if that is bound to the CPU that goes
# (sched_cpu_wait_empty): such a CPU never gets there. The freeing begins some time after the unload.
maps_are_freed() {
    sleep 2
    for ((i = 0; i < 600; i++)); do
        grep -qs bpf_map_free_deferred /proc/[0-9]*/stack || return 0
        sleep 0.1
    done
    return 1
}

readonly ROUNDS=20
start_mpg
full_load 600
for ((round = 0; round < ROUNDS; round++)); do
    turn $last 0
    turn $last 1
done
check 'the load lasted' "$(jobs -pr | wc -l) of 3 run" test "$(jobs -pr | wc -l)" = 3
assert_enabled
for load in $(jobs -p); do
    [[ $load == "$mpg" ]] || kill -INT "$load"
done
finishes 'a load on the CPU that came back' timeout 60 taskset -c $last hackbench -g 1 -l 10

# These have nowhere else to go: the kernel widens their affinity, once it gets hold of them.
bound=()
for _ in 1 2 3; do
    taskset -c "$last" bash -c 'while :; do :; done' &
    bound+=($!)
    until [[ $(allowed $!) == "$last" ]]; do sleep 0.1; done
done
sleep 2
turn $last 0
finishes 'a load on the others' timeout 60 hackbench -g 1 -l 10
turn $last 1
assert_enabled
kill -KILL "${bound[@]}"

# The whole last node, first busy, then idle: those who slept there wake elsewhere.
hogs 5
hogs=$!
turn $last 0
turn $((last - 1)) 0
finishes 'a load without a node' timeout 60 hackbench -g 1 -l 10
wait $hogs
finishes 'sleeping and waking without a node' timeout 20 bash -c 'for ((i = 0; i < 50; i++)); do sleep 0.01; done'
turn $((last - 1)) 1
turn $last 1
home=$(worker_cpus 1)
check 'the worker is back on its node' "CPUs $home" test "$home" = "$((last - 1))-$last"
finishes 'sleeping and waking, all back' timeout 20 bash -c 'for ((i = 0; i < 50; i++)); do sleep 0.01; done'
assert_enabled

stop_mpg
assert_conserved
assert_dmesg_clean

# A node that is absent at the load and comes later.
finishes 'the release of the maps' maps_are_freed
for cpu in $last $((last - 1)); do
    echo 0 >/sys/devices/system/cpu/cpu"$cpu"/online
done
start_mpg
full_load 8
sleep 1
turn $((last - 1)) 1
turn $last 1
finishes 'a load on a CPU that was absent at the load' timeout 60 taskset -c $last hackbench -g 1 -l 10
home=$(worker_cpus 1)
check 'its worker went there' "CPUs $home" test "$home" = "$((last - 1))-$last"
assert_enabled
stop_mpg
assert_conserved
assert_dmesg_clean
finish
