#!/usr/bin/env bash
# sysmon ends slices that the kernel's tick would let run on. Judged in virtual time (tests/guest/run).
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

last=$(($(nproc) - 1))
switches_of() { sed -n 's/^nonvoluntary_ctxt_switches:\t//p' "/proc/$1/status"; }

# Slices of 1 ms, and looks 500 us apart: in 2 s two hogs take turns 1333 times at least, by a tick of 4 ms 500 times.
start_mpg --slice-us 1000 --batch-slice-us 1000
hogs=()
for _ in 1 2; do
    taskset -c $last bash -c 'while :; do :; done' &
    hogs+=($!)
done
sleep 0.5
overruns=$(stat overruns)
from=$(($(switches_of "${hogs[0]}") + $(switches_of "${hogs[1]}")))
sleep 2
turns=$(($(switches_of "${hogs[0]}") + $(switches_of "${hogs[1]}") - from))
overruns=$(($(stat overruns) - overruns))
check 'slices of 1 ms end in time' "$turns turns in 2 s" test $turns -ge 1200
check '  by sysmon' "$overruns overruns" test $overruns -ge 600
kill -KILL "${hogs[@]}"
wait "${hogs[@]}" 2>/dev/null

# And not where nobody waits: of 4000 looks few are while somebody does.
sleep 0.5
taskset -c $last bash -c 'while :; do :; done' &
hog=$!
sleep 0.5
overruns=$(stat overruns)
sleep 2
overruns=$(($(stat overruns) - overruns))
check 'who is alone goes on' "$overruns overruns" test $overruns -le 200
kill -KILL $hog
assert_enabled
stop_mpg
assert_conserved
assert_dmesg_clean
finish
