#!/usr/bin/env bash
# What a decision costs in system calls when the machine is saturated.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# Half a system call for each decision, in thousandths: batching must be visible.
readonly LIMIT=500

start_mpg
full_load 300
sleep 1
line=$("$root/tools/measure-syscalls" 10)
thousandths=$(sed -n 's/.*: \([0-9]*\)\.\([0-9]*\) system calls per decision$/\1\2/p' <<<"$line")
check 'few system calls per decision' "${line:-nothing was measured}" test "$((10#${thousandths:-9999} < LIMIT))" = 1
assert_enabled
stop_mpg
assert_conserved
finish
