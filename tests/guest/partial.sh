#!/usr/bin/env bash
# With --partial only tasks that asked for SCHED_EXT are scheduled, the rest stay where they were.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# chrt knows SCHED_EXT only in releases newer than Debian's.
as_ext=(/usr/bin/python3 -IS -c '
import ctypes, os, sys
libc, zero = ctypes.CDLL(None, use_errno=True), ctypes.c_int(0)
if libc.sched_setscheduler(0, 7, ctypes.byref(zero)):
    sys.exit("SCHED_EXT: " + os.strerror(ctypes.get_errno()))
os.execvp(sys.argv[1], sys.argv[1:])')

in_ext() { sed -n 's/^ext.enabled *: *//p' "/proc/$1/sched"; }
seen() { stat entered direct | tr ' ' +; }

tries=0
start_mpg --partial
sleep 600 &
plain=$!
"${as_ext[@]}" sleep 600 &
ext=$!
until [[ $(value_of "/proc/$ext/comm") == sleep || $((tries++)) -ge 100 ]]; do sleep 0.2; done
check 'a plain task is not taken' "ext.enabled $(in_ext $plain)" test "$(in_ext $plain)" = 0
check 'a SCHED_EXT task is' "ext.enabled $(in_ext $ext)" test "$(in_ext $ext)" = 1
before=$(seen)
finishes 'a plain load' hackbench -g 2 -l 20
after=$(seen)
check 'a plain load does not reach it' "$before, then $after" test $((after - before)) -lt 50
before=$after
finishes 'a SCHED_EXT load' "${as_ext[@]}" hackbench -g 2 -l 20
after=$(seen)
check 'a SCHED_EXT load does' "$before, then $after" test $((after - before)) -gt 300
assert_enabled
kill $plain $ext
stop_mpg
assert_conserved
assert_dmesg_clean
finish
