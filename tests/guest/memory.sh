#!/usr/bin/env bash
# Tasks run where their memory is, however the scheduler had to find that out; and memory follows them where it may.
# In virtual time: the thread that looks for memory pays by its own CPU clock, on which a look is five times as dear where
# two CPUs carry all of the guest's. It would owe rounds when the load begins, and be late by chance.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# Fills so many MiB of memory, if told on a node by affinity or by memory policy, lets itself go, and computes in naps.
filler=(/usr/bin/python3 -IS -c '
import ctypes, os, platform, sys, time
mib, how, node = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
everywhere = os.sched_getaffinity(0)
there = {cpu for cpu in everywhere if os.path.exists("/sys/devices/system/cpu/cpu%d/node%d" % (cpu, node))}
if how == "policy":
    os.sched_setaffinity(0, everywhere - there)
    mask = ctypes.c_ulong(1 << node)
    number = 238 if platform.machine() == "x86_64" else 237
    if ctypes.CDLL(None).syscall(number, 2, ctypes.byref(mask), 65):
        sys.exit("set_mempolicy was refused")
else:
    os.sched_setaffinity(0, there)
memory = bytearray(b"x") * (mib << 20)
os.sched_setaffinity(0, everywhere)
open(sys.argv[4], "w").close()
while True:
    for _ in range(2000): pass
    time.sleep(0.001)')

fill() { # MIB HOW NODE: sets filled, its process, once its memory is full
    local deadline=$((SECONDS + PATIENCE_S)) full=$work/full.$RANDOM
    "${filler[@]}" "$1" "$2" "$3" "$full" &
    filled=$!
    until [[ -e $full ]]; do
        [[ $SECONDS -lt $deadline ]] || { check 'memory is filled' 'not in time' false; return; }
        sleep 0.05
    done
}

cpu_of() { local words && words=$(<"/proc/$1/stat") && read -ra words <<<"${words##*) }" && echo "${words[36]}"; }

share_on() { # PROCESS NODE: percent of 50 looks that found it there
    local there=0
    for ((look = 0; look < 50; look++)); do
        [[ ! -e /sys/devices/system/cpu/cpu$(cpu_of "$1")/node$2 ]] || there=$((there + 2))
        sleep 0.02
    done
    echo $there
}

comes_to() { # WHAT PROCESS NODE: within the patience it is there nine times of ten
    local what=$1 share deadline=$((SECONDS + PATIENCE_S))
    until share=$(share_on "$2" "$3") && [[ $share -ge 90 || $SECONDS -ge $deadline ]]; do :; done
    check "$what" "$share% of looks on node $3" test "$share" -ge 90
}

mib_on() { # PROCESS NODE
    awk -v "key=N$2=" '/ anon=/ { for (i = 1; i <= NF; i++) if (index($i, key) == 1) pages += substr($i, length(key) + 1) }
                       END { print int(pages / 256) }' "/proc/$1/numa_maps"
}

counted() { stat "$1" | cut -d . -f 1; }
bench_figure() { sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p" "$work/bench.json"; }

# Before the load: no fault of these was seen. The first shares its cgroup, the second has one of its own.
fill 24 affinity 1
before=$filled
mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
mkdir -p /sys/fs/cgroup/mpg-memory
filler_alone=(sh -c 'echo $$ >/sys/fs/cgroup/mpg-memory/cgroup.procs; exec "$@"' - "${filler[@]}")
full=$work/full.alone
"${filler_alone[@]}" 24 affinity 1 "$full" &
alone=$!
until [[ -e $full ]]; do sleep 0.05; done
start_mpg
comes_to 'memory from before the load is found' "$before" 1
looks=$(counted memory_looks)
check '  by looking' "$looks looks" test "$looks" -ge 1
comes_to 'that of a cgroup of one process too' "$alone" 1
looks=$(counted memory_cgroup_looks)
check '  by looking at the cgroup' "$looks looks" test "$looks" -ge 1
kill -KILL "$alone"

fill 24 policy 1
comes_to 'a memory policy is followed' "$filled" 1
kill -KILL "$filled" "$before"

finishes 'a load that is pushed off its memory' \
    "$bin/mpg-bench" memory -p 8 -m 16 --push-ms 500 -r 8 -w 4 --json "$work/bench.json"
share=$(bench_figure runs_at_memory_percent)
check '  comes back and stays' "$share% of runs at memory" test "${share:-0}" -ge 95
share=$(bench_figure pages_moved_percent)
check '  and no page is moved' "$share%" test "${share:-100}" = 0
# All of its threads want to be on one node, which has half of the CPUs that they need.
finishes 'a server with one node for its memory' /usr/bin/python3 -IS -c '
import ctypes, os, platform, sys
mask = ctypes.c_ulong(1)
number = 238 if platform.machine() == "x86_64" else 237
if ctypes.CDLL(None).syscall(number, 1, ctypes.byref(mask), 65):
    sys.exit("set_mempolicy was refused")
os.execv(sys.argv[1], sys.argv[1:])' "$bin/mpg-bench" wake -m 2 -t 4 -F 16 -n 1 -r 2 --json "$work/bench.json"
moved=$(bench_figure migrations_across_nodes)
served=$(bench_figure requests)
check '  has the other node too' "$moved moves for $served requests" test "${moved:-0}" -ge 100
check '  and who was moved stays for a while' "$moved moves for $served requests" test $((2 * moved)) -le "$served"
finishes 'hogs without memory' "$bin/mpg-bench" hog -r 2
homes=$(counted memory_homes)
check '  have no home' "$homes homes" test "$homes" -le 2

# Ten seconds' worth may be used at once.
read -r spent_us uptime_s < <(stat memory_us uptime_s)
check 'the thread keeps to its share' "${spent_us%.*} us of ${uptime_s%.*} s" \
    test "${spent_us%.*}" -le $((10000 * (${uptime_s%.*} + 11)))
assert_enabled
stop_mpg
assert_conserved

start_mpg --migrate-memory
fill 24 affinity 0
taskset -pc "$(</sys/devices/system/node/node1/cpulist)" "$filled" >/dev/null
deadline=$((SECONDS + PATIENCE_S))
until [[ $(mib_on "$filled" 1) -ge 20 || $SECONDS -ge $deadline ]]; do sleep 0.5; done
check 'memory follows who cannot come to it' "$(mib_on "$filled" 1) of $(($(mib_on "$filled" 1) + $(mib_on "$filled" 0))) MiB" \
    test "$(mib_on "$filled" 1)" -ge 20
sleep 1
read -r moved errors < <(stat memory_pages_moved memory_move_errors)
check '  and is counted' "$moved pages, $errors refused" test "$((moved >= 20 * 256 && errors == 0))" = 1
kill -KILL "$filled"
assert_enabled
stop_mpg
assert_conserved
assert_dmesg_clean
start_mpg --memory-permille 0
looks=$(counted memory_us)
check 'without a share there is no thread' "$looks us" test "$looks" = 0
# Without a load nobody may have had to wait in a queue, and then there is nothing to conserve.
finishes '  and a load without homes' "$bin/mpg-bench" wake -m 2 -t 4 -F 16 -n 1 -r 1
stop_mpg
assert_conserved
finish
