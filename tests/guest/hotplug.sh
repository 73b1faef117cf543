#!/usr/bin/env bash
# A CPU goes and comes back, five times, under load; the scheduler stays.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

last=$(($(nproc --all) - 1))
online=/sys/devices/system/cpu/cpu$last/online

start_mpg
full_load 60
for round in 1 2 3 4 5; do
    for wanted in 0 1; do
        begun=$(now_ms)
        echo $wanted >"$online"
        check "round $round: CPU $last to $wanted" "$(cat "$online") after $(($(now_ms) - begun)) ms, $(state)" test "$(cat "$online") $(state)" = "$wanted enabled"
        sleep 0.3
    done
done
assert_enabled
finishes 'a load on the CPU that came back' timeout 60 taskset -c "$last" hackbench -g 1 -l 10
assert_enabled
stop_mpg
assert_conserved
assert_dmesg_clean
finish
