#!/usr/bin/env bash
# A CPU that another scheduling class takes for good, as a real-time task that does not sleep: whoever waited there goes
# elsewhere. Judged in virtual time (tests/guest/run).
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

last=$(($(nproc) - 1))

# Wakes there once and never sleeps again: whoever takes a CPU in the moment in which it takes a G from a queue is not told
# of by Linux before 6.19.
read -r -d '' take <<'P'
import os, sys, time
os.sched_setaffinity(0, [int(sys.argv[1])])
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
time.sleep(0.2)
while True:
    pass
P

hogs=()
hog() { # CPUS COUNT
    local count
    for ((count = $2; count > 0; count--)); do
        taskset -c "$1" bash -c 'while :; do :; done' &
        hogs+=($!)
    done
}

# Takes the last CPU for a while; the first so many hogs must not notice more than that there is one CPU less. Ends all
# before the kernel's watchdog asks for threads of that CPU's own, which can go nowhere.
nobody_is_left_behind() { # COUNT LEAST, ticks in 3 s
    local at before=() ran=() least=999999 taker taken
    sleep 2
    /usr/bin/python3 -IS -c "$take" "$last" &
    taker=$!
    until [[ $(ticks $taker) -gt 50 ]]; do sleep 0.1; done
    for ((at = 0; at < $1; at++)); do before+=("$(ticks "${hogs[at]}")"); done
    taken=$(ticks $taker)
    sleep 3
    for ((at = 0; at < $1; at++)); do
        ran+=("$(($(ticks "${hogs[at]}") - before[at]))")
        [[ ${ran[at]} -ge $least ]] || least=${ran[at]}
    done
    taken=$(($(ticks $taker) - taken))
    kill -KILL $taker "${hogs[@]}"
    wait $taker "${hogs[@]}" 2>/dev/null
    hogs=()
    check 'the CPU is taken' "for $((10 * taken)) ms in 3 s" test $taken -gt 260
    check 'nobody is left behind there' "${ran[*]} times 10 ms in 3 s" test "$least" -ge "$2"
}

start_mpg
# Some may use that CPU and one more, some all.
hog 0,$last 4
hog 0-$last $((2 * $(nproc) - 4))
nobody_is_left_behind ${#hogs[@]} 15
# Two who wait for it with others who may use no other, while nobody else waits for the CPU that is left to the two.
hog 0,$last 2
hog $last 3
nobody_is_left_behind 2 5
finishes 'a load on the CPU once it is free' timeout 60 taskset -c "$last" hackbench -g 1 -l 5
assert_enabled
stop_mpg
assert_conserved
assert_dmesg_clean
finish
