#!/usr/bin/env bash
# What a decision costs in system calls when the machine is saturated.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# In thousandths of a system call. One for each decision is what a scheduler without batches makes, 170 is what was
# measured (docs/MEASUREMENTS.md); a slow host changes the batches, hence the room.
readonly LIMIT=250

start_mpg
"$bin/mpg-bench" wake -m 2 -t 4 -F 16 -n 1 -r 300 >/dev/null 2>&1 &
sleep 1
line=$("$(dirname "$0")/../../tools/measure-syscalls" 10)
thousandths=$(sed -n 's/.*: \([0-9]*\)\.\([0-9]*\) system calls per decision$/\1\2/p' <<<"$line")
check 'few system calls per decision' "${line:-nothing was measured}" test "$((10#${thousandths:-9999} < LIMIT))" = 1
assert_enabled
stop_mpg
assert_conserved
finish
