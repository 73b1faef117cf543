#!/usr/bin/env bash
# Causes of late wakeups that are planted, one after the other, are named by scx_mpg why; and who may ask, and what is left
# of a watch. Judged in virtual time (tests/guest/run).
# shellcheck disable=SC2016  # what is in quotes is for another shell
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
here=$(dirname "$0")

readonly HOG='while :; do :; done'
# A hog that leaves its CPU for 10 ms now and then: on some kernels nothing else would.
export RT_HOG='printf hog >/proc/$$/comm; exec {fd}<> <(:); while :; do for ((i = 0; i < 20000; i++)); do :; done; read -t 0.01 -u $fd; done'

# By its file's name from its first moment on.
cp "$(command -v bash)" "$work/hog"
hogs() { # NUMBER COMMAND...: that many, each under the command
    local left
    for ((left = $1; left > 0; left--)); do
        "${@:2}" "$work/hog" -c "$HOG" &
    done
}

victim() { # COMMAND...: a timer, under the command; returns once it had some turns
    "$@" "$bin/mpg-bench" timer -t 1 -i 10000 -r 600 >/dev/null 2>&1 &
    victim=$!
    until in_turn /proc/$victim/task/*; do sleep 0.05; done
}

in_turn() { # THREAD...: of the process, its first one ahead; one of the others has slept for some time
    [[ $# -gt 1 ]] && shift && grep -qsE '^voluntary_ctxt_switches:[[:blank:]]+([5-9]|[0-9]{2,})' "${@/%//status}"
}

why() { "$bin/scx_mpg" why --json "$@" >"$work/why.json" 2>"$work/why.err"; }

# The part of the waits, in percent, whose main cause is this; 0 where there was none.
share() { sed -n "/\"cause\": \"$1\"/,/waits_pct/s/.*\"waits_pct\": \([0-9]*\).*/\1/p" "$work/why.json" | head -n 1 | grep . || echo 0; }
causes() { sed -n '/"causes"/,/^  \]/s/.*"\(cause\|waits_pct\)": "\{0,1\}\([^",]*\).*/\2/p' "$work/why.json" | xargs echo; }
most_behind() { # whom the waits were behind for most of their time
    python3 -c '
import collections, json, sys
behind = collections.Counter()
for wait in json.load(open(sys.argv[1]))["waits"]:
    for other in wait["behind"]:
        behind[other["comm"]] += other["us"]
print(*[comm for comm, _ in behind.most_common(1)])' "$work/why.json"
}

named() { # WHAT CAUSE BEHIND: the cause of most of the waiting, and whom most of it was behind
    check "$1: $2" "$(causes); $(cat "$work/why.err")" test "$(share "$2")" -ge 60
    [[ -n $3 ]] || return 0
    most=$(most_behind)
    check "  behind $3" "$most" test "$most" = "$3"
}

planted() { # WHAT CAUSE BEHIND [OPTIONS...]: what makes the victim late
    why --pid $victim --for 1 "${@:4}"
    # First: among hogs it would take a minute to judge.
    end
    named "$1" "$2" "$3"
}

end() { # what was planted, but not scx_mpg
    local pid
    for pid in $(jobs -p); do
        [[ $pid == "$mpg" ]] || kill -KILL "$pid"
    done
    for pid in $(jobs -p); do
        [[ $pid == "$mpg" ]] || wait "$pid"
    done
} 2>/dev/null

refused 'why with none running' 'no scx_mpg is running' "$bin/scx_mpg" why --for 1
refused 'a bound of nothing' 'give 1 to 10000000 microseconds' "$bin/scx_mpg" why --over-us 0

# Nobody is put off his CPU by who is woken, and every task is decided anew.
start_mpg --policy fifo
sleep 0.3

# Who may ask, and what is left.
refused 'a user who is not root' 'root' setpriv --reuid 65534 --regid 65534 --clear-groups "$bin/scx_mpg" why --for 1
"$bin/scx_mpg" why --over-us 1000000 >/dev/null 2>&1 &
first=$!
until grep -q "process $first watches" "$log"; do sleep 0.01; done
refused 'a second watcher' "process $first (scx_mpg) watches already" "$bin/scx_mpg" why --for 1
begun=$(now_ms)
kill -KILL $first
until grep -q "process $first watches no more" "$log" || [[ $(now_ms) -gt $((begun + 5000)) ]]; do sleep 0.01; done
took=$(($(now_ms) - begun))
check 'after kill -9 nobody watches' "after $took ms" test $took -le 100
"$bin/scx_mpg" why --over-us 1000000 --for 0.2 >"$work/out" 2>&1
check 'nobody late is one sentence' "$(cat "$work/out")" grep -q '^Nobody waited for more than 1000000 us .* runs were seen\.$' "$work/out"
check '  of one line' "$(grep -c . "$work/out") lines" test "$(grep -c . "$work/out")" = 1

hogs 4 taskset -c 0,1
victim taskset -c 0,1
planted 'bound to a full node beside an idle one' affinity hog --perfetto "$work/trace.json"
check '  and in a trace' "$(wc -c <"$work/trace.json") bytes" \
    python3 -c 'import json, sys; events = json.load(open(sys.argv[1]))["traceEvents"]; sys.exit({e["ph"] for e in events} != set("MXbe"))' "$work/trace.json"

hogs 1 taskset -c 2
victim taskset -c 2
planted 'bound to a CPU with a hog' affinity hog

taskset -c 3 chrt -f 10 bash -c "$RT_HOG" &
victim taskset -c 3
planted 'a real-time hog' other-class ''

hogs 8 env
victim env
planted 'more hogs than CPUs' queue hog

victim chrt -i 0
hogs 8 env
mapfile -t pids < <(jobs -p)
(sleep 1 && kill -KILL "${pids[@]:2}") &
why --pid $victim --for 2
end
named 'SCHED_IDLE among hogs' spare hog

mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup
mkdir -p /sys/fs/cgroup/quota
echo +cpu >/sys/fs/cgroup/cgroup.subtree_control
echo '1000 100000' >/sys/fs/cgroup/quota/cpu.max
hogs 8 env
victim bash -c 'echo $$ >/sys/fs/cgroup/quota/cgroup.procs; exec "$@"' -
why --pid $victim --for 1
# No sched_ext scheduler is held to a quota unless it does that itself.
throttled=$(sed -n 's/^nr_throttled //p' /sys/fs/cgroup/quota/cpu.stat)
end
check 'a quota that nobody enforces' "throttled $throttled times" test "$throttled" = 0
named '  is not what makes it late' queue hog

stoppers=()
mapfile -t workers < <(grep -l '^mpg-worker' /proc/$mpg/task/*/comm)
for worker in "${workers[@]}"; do
    worker=${worker%/comm}
    mkfifo "$work/stop.${worker##*/}"
    python3 "$here/stop-thread.py" "${worker##*/}" <"$work/stop.${worker##*/}" >"$work/stopped.${worker##*/}" 2>&1 &
    exec {fd}>"$work/stop.${worker##*/}"
    stoppers+=("$fd")
done
until [[ $(cat "$work"/stopped.* | grep -c ready) == "${#stoppers[@]}" ]]; do sleep 0.05; done
for fd in "${stoppers[@]}"; do echo stop >&"$fd"; done
until [[ $(cat "$work"/stopped.* | grep -c stopped) == "${#stoppers[@]}" ]]; do sleep 0.05; done
hogs 8 env
victim env
why --pid $victim --for 1
for fd in "${stoppers[@]}"; do echo 'go on' >&"$fd"; done
end
named 'stopped workers' worker hog

# Its memory policy names node 0, so it wakes there, again and again. A hog for each CPU there, none of which waits: a node
# where tasks wait for long would be left. And the worker, which waits for a slice of theirs to end, is seldom called.
"$bin/scx_mpg" set --steal-after-us 10000 --batch-us 100000 --batch-events 4096 >/dev/null
hogs 1 taskset -c 0
hogs 1 taskset -c 1
victim /usr/bin/python3 -IS -c '
import ctypes, os, platform, sys
number = 238 if platform.machine() == "x86_64" else 237
if ctypes.CDLL(None).syscall(number, 2, ctypes.byref(ctypes.c_ulong(1)), 65):
    sys.exit("set_mempolicy was refused")
os.execv(sys.argv[1], sys.argv[1:])'
planted 'an idle node that has no leave yet' leave hog

"$bin/scx_mpg" set --policy mpg --batch-us 10000 --batch-events 32 >/dev/null
hogs 4 env
"$bin/mpg-bench" timer -t 1 -i 1000 -r 600 >/dev/null 2>&1 &
sleep 1
why --comm hog --over-us 5 --for 1
end
named 'a timer among hogs' preempted ''
by=$(sed -n '/"preempted_by": {/,/}/s/.*"comm": "\(.*\)".*/\1/p' "$work/why.json" | sort | uniq -c | sort -rn | head -n 1)
check '  by the timer' "$by" test "${by##* }" = mpg-timer

"$bin/scx_mpg" why --over-us 1000000 >"$work/out" 2>&1 &
first=$!
until grep -q "process $first watches" "$log"; do sleep 0.01; done
assert_enabled
stop_mpg
ends $first
check 'unloading ends a watch' "$(head -n 1 "$work/out")" grep -q '^The scheduler was unloaded' "$work/out"
assert_conserved
assert_dmesg_clean
finish
