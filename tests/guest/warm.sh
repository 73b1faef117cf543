#!/usr/bin/env bash
# Warm caches: where a CPU of a node finds several that are due at about the same time, it takes who ran on it last, and
# nobody waits longer for it. Judged in virtual time (tests/guest/run), by the kernel's own count of migrations.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

last=$(($(nproc) - 1))
readonly HOGS=4 SECONDS_RUN=2

moves() { awk '/nr_migrations/ { sum += $3 } END { print sum }' "${hogs[@]/%//sched}"; }
switches() { awk '/^nonvoluntary/ { sum += $2 } END { print sum }' "${hogs[@]/%//status}"; }
ran_ms() { local hog ns && for hog in "${hogs[@]}"; do read -r ns _ <"$hog/schedstat" && echo $((ns / 1000000)); done | sort -n; }

start_mpg
# Two for each CPU of the last node.
hogs=()
for ((i = 0; i < HOGS; i++)); do
    taskset -c $((last - 1)),$last bash -c 'while :; do :; done' &
    hogs+=("/proc/$!")
done
sleep 0.5
moved=$(moves)
switched=$(switches)
sleep $SECONDS_RUN
moved=$(($(moves) - moved))
switched=$(($(switches) - switched))
check 'hogs of one node take turns' "$switched times" test $switched -ge 100
check '  each on its CPU' "$moved moves" test $((10 * moved)) -le $switched
mapfile -t shares < <(ran_ms)
check '  and get the same' "${shares[*]} ms" test $((shares[0] * 100)) -ge $((shares[HOGS - 1] * 85))
check '  which is the rule at work' "$(stat warm) times" test "$(stat warm)" -ge 1
kill -KILL "${hogs[@]##*/}"
wait "${hogs[@]##*/}" 2>/dev/null

assert_enabled
stop_mpg
assert_conserved
assert_dmesg_clean
finish
