#!/usr/bin/env bash
# What goes wrong is said once, and once that it is over. Judged in virtual time (tests/guest/run).
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

picture=/run/scx_mpg/starvation.txt

said() { # WORDS: fails if it does not within 6 s; without a process, which would have to wait among the hogs
    local deadline=$((SECONDS + 6))
    until [[ $(<"$log") == *"$1"* ]]; do
        [[ $SECONDS -lt $deadline ]] || return 1
        sleep 0.1
    done
}

raised() { # ALERT
    local code=0
    said "alert $1: " || code=$?
    check "$1 is noticed" "$(stat "alert_$1")" test "$code $(stat "alert_$1")" = '0 1'
}

cleared() { # ALERT
    local code=0
    said "alert $1 is over" || code=$?
    check "$1 is over" "$(stat "alert_$1")" test "$code $(stat "alert_$1")" = '0 0'
    check '  and each was said once' "$(grep "alert $1" "$log")" test "$(grep -c "alert $1" "$log")" = 2
}

busy() { # COUNT: as many hogs for each CPU
    hogs=()
    for ((hog = $1 * $(nproc); hog > 0; hog--)); do
        bash -c 'while :; do :; done' &
        hogs+=($!)
    done
}
end_hogs() {
    kill -KILL "${hogs[@]}"
    wait "${hogs[@]}" 2>/dev/null
}

start_mpg
alerts=$(stat total_alerts)
check 'nothing is wrong at first' "$alerts alerts" test "$alerts" = 0

# Started before there is a load to wait behind.
worker=$(grep -l '^mpg-worker/1$' /proc/$mpg/task/*/comm)
worker=${worker%/comm}
coproc stopper { python3 "$(dirname "$0")/stop-thread.py" "${worker##*/}" 2>&1; }
read -r -u "${stopper[0]}" ready
check 'the worker can be stopped' "$ready" test "$ready" = ready

# Each waits for three slices of 5 ms.
busy 4
raised starvation
check 'the queues are in a file' "$(grep -c '^  G' $picture) tasks of ${#hogs[@]}" test "$(grep -c '^  G' $picture)" -gt "$(nproc)"
check "  that only root may read" "$(find $picture -printf '%u %m')" test "$(find $picture -printf '%u %m')" = 'root 600'

echo stop >&"${stopper[1]}"
read -r -u "${stopper[0]}" stopped
check 'the worker is stopped' "$stopped" test "$stopped" = stopped
raised behind
echo go on >&"${stopper[1]}"
end_hogs
cleared starvation
cleared behind

# Two that wake each other for a byte start some ten thousand times a second on each of the few CPUs.
"$bin/mpg-bench" pipe -r 30 >/dev/null 2>&1 &
pair=$!
raised storm
kill "$pair"
wait "$pair" 2>/dev/null
cleared storm

# Who does not leave when the slice is over, though others wait: no scheduler can make it, but it can say so.
coproc holder { exec python3 "$(dirname "$0")/hold-cpu.py" 2000 2>&1; }
holder_pid=$!
read -r -u "${holder[0]}" ready
check 'a task can hold its CPU' "$ready" test "$ready" = ready
busy 2
# Who is not there yet cannot wait.
sleep 1
echo hold >&"${holder[1]}"
read -r -u "${holder[0]}" held
raised runaway
check '  by its number' "$held; $(grep 'alert runaway: ' "$log")" grep -q "alert runaway: task $holder_pid " "$log"
end_hogs
cleared runaway

# Who may use one CPU of a node of which another is idle waits for good reason: its own is taken by another class.
last=$(($(nproc) - 1))
chrt --fifo 1 taskset -c $last bash -c 'while :; do :; done' &
hogs=($!)
for _ in 1 2 3 4; do
    taskset -c 0,$last bash -c 'while :; do :; done' &
    hogs+=($!)
done
sleep 3
check 'no node counts as idle for others than may use its idle CPUs' "$(grep 'alert idle' "$log" || echo no alert)" \
    test "$(grep -c 'alert idle' "$log")" = 0
end_hogs

runtime() { cut -d ' ' -f 1 <"$health/schedstat"; }
health=$(grep -l '^mpg-health$' /proc/$mpg/task/*/comm)
health=${health%/comm}
before=$(runtime)
sleep 1
cost=$((($(runtime) - before) / 1000))
check 'looking after it is cheap' "$cost us a second" test $cost -lt 2000
assert_enabled
stop_mpg
check 'the file stays' "$(head -n 1 $picture)" test -s $picture
assert_conserved
assert_dmesg_clean
finish
