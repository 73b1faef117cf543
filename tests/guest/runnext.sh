#!/usr/bin/env bash
# A pair that wakes each other stays on its CPU, shuts nobody out, and waits for no waker that does not sleep.
# Judged in virtual time (tests/guest/run).
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

readonly TURNS=3000
last=$(($(nproc) - 1))

# Plays ping-pong until it is believed that it sleeps when it wakes the other, and then computes for 10 ms instead.
# Prints how long the other waited for its CPU, the median of 20 in microseconds.
breaker=(/usr/bin/python3 -IS -c '
import os, time
to, back = os.pipe(), os.pipe()
other = os.fork()
if other == 0:
    while os.read(to[0], 1):
        os.write(back[1], b"%20d" % time.monotonic_ns())
waits = []
for trial in range(20):
    for _ in range(40):
        os.write(to[1], b"x")
        os.read(back[0], 20)
    begun = time.monotonic_ns()
    os.write(to[1], b"x")
    while time.monotonic_ns() < begun + 10000000: pass
    waits.append(int(os.read(back[0], 20)) - begun)
print(sorted(waits)[10] // 1000)
os.kill(other, 9)')

figure() { sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p" "$work/bench.json"; }
ran_ms() { # PROCESS...
    local process ns sum=0
    for process; do read -r ns _ <"/proc/$process/schedstat" && sum=$((sum + ns)); done
    echo $((sum / 1000000))
}

start_mpg
before=$(stat runnext)
finishes 'ping-pong' "$bin/mpg-bench" pipe -l $TURNS --json "$work/bench.json"
handed=$(($(stat runnext) - before))
check '  hands over its CPU' "$handed times in $((2 * TURNS)) wakeups" test $handed -ge $((2 * TURNS * 9 / 10))
moves=$(figure migrations)
check '  and stays there' "$moves migrations" test "${moves:-999}" -le $((TURNS / 100))

# A futex has no mark by which a waker says that it will sleep.
before=$(stat runnext)
finishes 'a server with one worker' "$bin/mpg-bench" wake -m 1 -t 1 -F 16 -n 1 -r 1
handed=$(($(stat runnext) - before))
check '  hands over its CPU unsaid' "$handed times" test $handed -ge 1000

# One that is woken by two in turn, on two nodes, each of which then sleeps, is where it is for one of them in any case.
between=(/usr/bin/python3 -IS -c '
import os, sys
answers, cpus, asked = os.pipe(), sorted(os.sched_getaffinity(0)), []
for there in cpus[:len(cpus) // 2], cpus[len(cpus) // 2:]:
    questions = os.pipe()
    other = os.fork()
    if other == 0:
        os.sched_setaffinity(0, there)
        while os.read(questions[0], 1):
            os.write(answers[1], b"x")
    asked.append((other, questions[1]))
for turn in range(2 * int(sys.argv[1])):
    os.write(asked[turn % 2][1], b"x")
    os.read(answers[0], 1)
for other, _ in asked:
    os.kill(other, 9)')
before=$(stat migrations_node)
finishes 'one between two nodes' "${between[@]}" $TURNS
moved=$(($(stat migrations_node) - before))
check '  is not brought to each waker' "$moved moves across nodes in $((2 * TURNS)) wakeups" test $moved -le $((TURNS / 10))

# Four hogs on the same two CPUs: the pair, of which one runs at a time, gets no more than its share, a third of both.
node=$((last - 1)),$last
hogs=()
for _ in 1 2 3 4; do
    taskset -c $node bash -c 'while :; do :; done' &
    hogs+=($!)
done
taskset -c $node "$bin/mpg-bench" pipe -r 60 >/dev/null 2>&1 &
pair=$!
sleep 0.5
before=$(stat runnext)
from=$(ran_ms "${hogs[@]}")
sleep 2
share=$((($(ran_ms "${hogs[@]}") - from) / 20))
handed=$(($(stat runnext) - before))
check 'beside hogs a pair hands over' "$handed times" test $handed -ge 1000
check '  and leaves them their share' "$share% of two CPUs" test $share -ge 120
kill -KILL "${hogs[@]}" $pair
wait "${hogs[@]}" 2>/dev/null

read -r runnext overruns < <(stat runnext overruns)
wait_us=$("${breaker[@]}")
read -r runnext_after overruns_after < <(stat runnext overruns)
check 'who broke its promise was believed' "$((runnext_after - runnext)) times next" test $((runnext_after - runnext)) -ge 400
check '  and put off its CPU' "$((overruns_after - overruns)) times, after $wait_us us" \
    test $((overruns_after - overruns >= 15 && wait_us < 2000)) = 1
# A thread of scx_mpg's own that is asked again and again by one who then sleeps: it waits in a queue of its own kind, and
# is not counted among tasks.
read -r -d '' asker <<'P'
import socket
with socket.socket(socket.AF_UNIX) as scheduler:
    scheduler.connect("/var/run/scx/root/stats")
    answers = scheduler.makefile("rb")
    for _ in range(300):
        scheduler.sendall(b'{"req":"stats","args":{}}\n')
        assert answers.readline().startswith(b"{")
P
finishes 'whoever asks for the statistics 300 times' timeout 60 /usr/bin/python3 -IS -c "$asker"
assert_enabled
stop_mpg
assert_conserved
assert_dmesg_clean
finish
