#!/usr/bin/env bash
# A program that starts on a node where others wait goes to one where fewer do when it calls exec. Judged in virtual time
# (tests/guest/run), for it depends on who waits at one moment.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

node0=$(value_of /sys/devices/system/node/node0/cpulist)
# Forks eight children on the first node, one at a time. Each lets itself go, calls exec, and computes for a moment. What
# they execute is in memory: whoever waits for a disk before exec is elsewhere by then.
read -r -d '' launcher <<'P'
import os
everywhere = os.sched_getaffinity(0)
here = {cpu for cpu in everywhere if os.path.exists("/sys/devices/system/cpu/cpu%d/node0" % cpu)}
for _ in range(8):
    if os.fork() == 0:
        os.sched_setaffinity(0, here)
        os.sched_setaffinity(0, everywhere)
        os.execv("/run/busybox", ["seq", "5000"])
    os.wait()
P
launch() { finishes "$1" timeout 100 /usr/bin/python3 -IS -c "$launcher"; }
counted() { stat exec_moves | cut -d . -f 1; }

start_mpg
before=$(counted)
launch 'programs on an idle machine'
moved=$(($(counted) - before))
check '  stay where they are' "$moved of 8 moved" test $moved -le 2

for ((hog = 0; hog < $(nproc); hog++)); do
    taskset -c "$node0" bash -c 'while :; do :; done' &
done
sleep 1
before=$(counted)
launch 'programs among hogs of their node'
moved=$(($(counted) - before))
check '  leave it at exec' "$moved of 8 moved" test $moved -ge 1

"$bin/scx_mpg" set --policy global >/dev/null
before=$(counted)
launch 'programs in one queue'
moved=$(($(counted) - before))
check '  have nowhere to go' "$moved of 8 moved" test $moved = 0
assert_enabled
stop_mpg
assert_conserved
assert_dmesg_clean
finish
