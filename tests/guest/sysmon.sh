#!/usr/bin/env bash
# sysmon ends slices that the kernel's tick would let run on, and those that other settings gave. Judged in virtual time (tests/guest/run).
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

# A change is there within 10 ms of its answer, also for who was given more before: two hogs for each CPU of the last node.
"$bin/scx_mpg" set --slice-us 40000 --batch-slice-us 40000 >/dev/null
cp "$(command -v bash)" "$work/hog"
hogs=()
for _ in 1 2 3 4; do
    taskset -c $((last - 1)),$last "$work/hog" -c 'while :; do :; done' &
    hogs+=($!)
done
sleep 1
in_force=$(/usr/bin/python3 -IS "$(dirname "$0")/in-force.py" "$bin/scx_mpg" "$work/trace.json" hog \
    slice_us=1000 batch_slice_us=1000 2>&1)
read -r longest beyond <<<"$in_force"
check 'slices of 40 ms are had' "$longest us" test "$longest" -ge 35000
# Two ticks of the kernel, which ends slices where a look comes late.
check '  and 10 ms after a change those of 1 ms' "at most $beyond us" test "$beyond" -le 8000
kill -KILL "${hogs[@]}"
wait "${hogs[@]}" 2>/dev/null
assert_enabled
stop_mpg
assert_conserved
assert_dmesg_clean
finish
