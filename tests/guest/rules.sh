#!/usr/bin/env bash
# The user's rules: given at the start and while it runs, shown, refused, and obeyed by name, process, cgroup and user.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

mpg_set() { "$bin/scx_mpg" set "$@" >/dev/null; }
rules() { "$bin/scx_mpg" show --json | tr -d '\n ' | sed 's/.*"class":\[\([^]]*\)\].*/\1/'; }
# Timers preempt hogs, unless a rule takes them for batch.
preemptions() { # COMMAND...: sets seen, how many there were while timers and hogs ran
    local before
    before=$(stat preemptions)
    "$@" "$bin/mpg-bench" mix -r 2 >"$work/out" 2>&1
    seen=$(($(stat preemptions) - before))
}
in_cgroup() { sh -c "echo \$\$ >$cgroup/cgroup.procs && exec \"\$@\"" - "$@"; }
obeyed() { # WHAT RULE COMMAND...
    local what=$1 rule=$2
    shift 2
    mpg_set --class "$rule"
    preemptions "$@"
    check "a rule by $what is obeyed" "$seen preemptions with $rule" test "$seen" -lt $((without / 5))
}

cgroup=/sys/fs/cgroup/mpg-test
mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup
mkdir -p $cgroup/below

start_mpg --class 'comm=nobody:latency' --class 'uid=4711:batch'
check 'given at the start' "$(rules)" test "$(rules)" = '"comm=nobody:latency","uid=4711:batch"'
for bad in 'comm=x' 'comm=x:fast' 'name=x:batch' 'uid=root:batch' 'cgroup=/not/there:batch'; do
    code=0
    "$bin/scx_mpg" set --slice-us 4000 --class "$bad" >"$work/out" 2>"$work/err" || code=$?
    check "$bad is refused" "code $code: $(cat "$work/err")" grep -q expected "$work/err"
    check '  with code 2 and one line' "code $code" test "$code $(grep -c . "$work/err")" = '2 1'
done
check 'and nothing is changed' "$(setting slice_us) $(rules)" \
    test "$(setting slice_us) $(rules)" = '5000 "comm=nobody:latency","uid=4711:batch"'
mpg_set --class none
check 'none empties the list' "'$(rules)'" test -z "$(rules)"

preemptions
without=$seen
check 'without rules timers preempt hogs' "$without preemptions" test "$without" -gt 100
obeyed name 'comm=mpg-ti*:batch'
obeyed process 'process=mpg-bench:batch'
obeyed cgroup 'cgroup=/mpg-test:batch' in_cgroup
preemptions
check '  by those in it only' "$seen preemptions" test "$seen" -gt $((without / 2))
cgroup+=/below
obeyed 'a cgroup above' 'cgroup=/mpg-test:batch' in_cgroup
obeyed user 'uid=65534:batch' setpriv --reuid 65534 --clear-groups
mpg_set --class 'comm=mpg-timer:normal' --class 'comm=mpg-*:batch'
preemptions
check 'the first that matches counts' "$seen preemptions" test "$seen" -gt $((without / 2))
stop_mpg
assert_conserved
assert_dmesg_clean
finish
