#!/usr/bin/env bash
# Loads, schedules, unloads: by SIGINT under full load, then again by SIGTERM.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# The promise to a user who presses ^C. The emulator's own slowness is in the figure.
readonly UNLOAD_MS=1000

for signal in INT TERM; do
    start_mpg || break
    check 'the kernel names it' "$(state) $(ops)" is_ours "$(state) $(ops), load $(loads)"
    finishes 'a short load' "$bin/mpg-bench" wake -m 1 -t 4 -F 16 -n 1 -r 1
    full_load 60
    sleep 1.5
    assert_enabled
    stop_mpg $signal
    check "SIG$signal under full load gives the machine back" "in $stop_ms ms, $(state)" test "$(state) $((stop_ms < UNLOAD_MS))" = 'disabled 1'
    assert_conserved
    assert_dmesg_clean
    end_loads
done
finish
