#!/usr/bin/env bash
# A cpuset that shrinks and grows under load: whoever is in it goes where it may, at once, whether it runs, waits or
# sleeps, and nobody is lost.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

cgroup=/sys/fs/cgroup/mpg-cpuset
mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup
echo +cpuset >/sys/fs/cgroup/cgroup.subtree_control
mkdir -p $cgroup
last=$(($(nproc) - 1))

start_mpg
# In it: some that never sleep, and a server; outside: as many that never sleep.
members=()
for _ in 1 2 3; do
    sh -c "echo \$\$ >$cgroup/cgroup.procs; while :; do :; done" &
    members+=($!)
done
sh -c "echo \$\$ >$cgroup/cgroup.procs; exec \"\$@\"" - "$bin/mpg-bench" wake -m 1 -t 4 -F 16 -n 1 -r 60 >/dev/null 2>&1 &
stress-ng --quiet --temp-path /tmp --cpu 3 --cpu-method int64 --timeout 60 &
sleep 1

moved=0
strays=0
for cpus in "$last" 0-1 0 "1-$last" "$last"; do
    echo "$cpus" >$cgroup/cpuset.cpus || check "cpuset $cpus" refused false
    moved=$((moved + 1))
    before=()
    for member in "${members[@]}"; do before+=("$(ticks "$member")"); done
    for ((look = 0; look < 100; look++)); do
        sleep 0.1
        stuck=0
        for at in "${!members[@]}"; do
            [[ $(ticks "${members[at]}") -gt ${before[at]} ]] || stuck=1
        done
        [[ $stuck != 0 ]] || break
    done
    strays=$((strays + stuck))
done
check 'all run wherever the cpuset is' "$strays of $moved sets left one out" test $strays = 0
lost=$(stat lost)
check 'the tasks add up' "${lost:-no answer} in flight or lost" test "${lost:-999}" -le 10

"$bin/scx_mpg" set --policy global >/dev/null
for cpus in "$last" 0 0-$last; do
    echo "$cpus" >$cgroup/cpuset.cpus
    sleep 0.2
done
assert_enabled
stop_mpg
assert_conserved
assert_dmesg_clean
end_loads
sleep 0.2
rmdir $cgroup
finish
