#!/usr/bin/env bash
# mpg-bench compare as its users have it: it works, it refuses, and it leaves the machine as it was, also when it is
# interrupted or the scheduler falls out.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

bench=$bin/mpg-bench
compare() { "$bench" compare --no-floor --no-watch --rounds 1 -r 1 "$@"; }
# Those that have ended and were not waited for by whoever inherited them do not count.
processes() { pgrep -r D,R,S,T -x scx_mpg; pgrep -r D,R,S,T -x mpg-bench; }
assert_as_before() { # WHAT
    local left
    left=$(processes)
    check "$1: the machine is as it was" "state $(state), processes left: ${left:-none}" test "$(state) $left" = 'disabled '
}

# The figures of two schedulers, and what is made of them.
finishes 'a comparison' "$bench" compare --sched eevdf --sched mpg --sched 'mpg:--slice-us 3000' --load light --rounds 1 -r 1 \
    --json "$work/c.json" --html "$work/c.html" --markdown "$work/c.md"
check 'it says what it does' "$(tail -n 3 "$work/out" | head -n 1)" grep -q 'light under mpg' "$work/out"
check 'the table has the requests' "$(grep requests "$work/out")" grep -q '^ *requests' "$work/out"
for file in c.json c.html c.md; do check "$file is written" "$(wc -c <"$work/$file") bytes" test -s "$work/$file"; done
check 'all schedulers are in it' "$(grep -c '"label": "mpg' "$work/c.json")" grep -q '"label": "mpg --slice-us 3000"' "$work/c.json"
check 'it is whole' "$(grep -m 1 '"partial"' "$work/c.json")" grep -q '"partial": false' "$work/c.json"
assert_as_before 'after a comparison'

refused 'a scheduler that nobody knows' 'there is no scx_nobody' compare --sched nobody
refused 'a program that is not there' 'not there' compare --sched x=/nonexistent
refused 'a load that nobody knows' 'unrecognized subcommand' compare --sched eevdf --load 'nothing -x 1'
refused 'a report that cannot be written' 'cannot write' compare --sched eevdf --load light --html /nonexistent/c.html
refused 'a scheduler that does not load' 'did not load' compare --sched x=/bin/false --load light
assert_as_before 'after one that does not load'
refused 'no permission' 'root' setpriv --reuid 65534 --clear-groups "$bench" compare --sched eevdf --sched mpg --load light --rounds 1 -r 1
refused 'a baseline that cannot be read' 'nonexistent' "$bench" check /nonexistent "$work/c.json"
refused 'a baseline that is none' 'no comparison' "$bench" check /etc/passwd "$work/c.json"
finishes 'a check with itself' "$bench" check "$work/c.json" "$work/c.json"

start_mpg
refused 'another scheduler is loaded' 'unload it first' compare --sched eevdf --load light
stop_mpg

# A scheduler that is put out in the middle of a run.
cat >"$work/falls_out" <<SCHEDULER
#!/bin/sh
exec timeout -s KILL 12 "$bin/scx_mpg"
SCHEDULER
chmod +x "$work/falls_out"
refused 'a scheduler that falls out' 'fell out' "$bench" compare --no-floor --no-watch --rounds 1 -r 20 \
    --sched "x=$work/falls_out" --load light
assert_as_before 'after one that fell out'

# Ctrl-C while scx_mpg is measured.
"$bench" compare --no-floor --no-watch --rounds 5 -r 2 --sched eevdf --sched mpg --load light --json "$work/p.json" \
    >"$work/out" 2>"$work/err" &
comparing=$!
wait_state enabled
sleep 1
kill -INT $comparing
code=0
wait $comparing || code=$?
check 'Ctrl-C is told' "code $code: $(tail -n 1 "$work/err")" test $code != 0
check 'what was measured is kept, marked' "$(grep -m 1 '"partial"' "$work/p.json")" grep -q '"partial": true' "$work/p.json"
assert_as_before 'after Ctrl-C'
assert_dmesg_clean
finish
