#!/usr/bin/env bash
# Settings of a loaded scheduler, who may change them, and what becomes of a second instance and of a killed one.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

set_refused() { # WHAT WORDS OPTIONS...
    local what=$1 words=$2 before after
    shift 2
    before=$("$bin/scx_mpg" show --json)
    refused "$what" "$words" "$bin/scx_mpg" set "$@"
    after=$("$bin/scx_mpg" show --json)
    check '  and nothing is changed' "$(setting slice_us) $(setting oldest_every)" test -n "$after" -a "$before" = "$after"
}

refused 'show with none running' 'no scx_mpg is running' "$bin/scx_mpg" show
refused 'set with none running' 'no scx_mpg is running' "$bin/scx_mpg" set --slice-us 3000
refused 'a bad value at the start' 'expected 100 to' "$bin/scx_mpg" --slice-us 5

start_mpg
full_load 120
sleep 1

before=$(setting slice_us)
finishes 'set' "$bin/scx_mpg" set --slice-us 3000
check 'a parameter changes' "$before to $(setting slice_us)" test "$before $(setting slice_us)" = '5000 3000'
set_refused 'a value out of range' 'expected 100 to' --slice-us 5
set_refused 'a good value with a bad one' 'oldest-every is 0' --slice-us 4000 --oldest-every 0
set_refused 'an unknown policy' 'choose one of' --policy none
finishes 'a change of policy' "$bin/scx_mpg" set --policy fifo
check 'the policy changes' "$("$bin/scx_mpg" show --json | grep policy)" grep -q '"policy": "fifo"' <("$bin/scx_mpg" show --json)
finishes 'the way back' "$bin/scx_mpg" set --policy mpg
assert_enabled

nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups)
refused 'a user who is not root loads' 'root' "${nobody[@]}" "$bin/scx_mpg"
refused 'a user who is not root sets' 'root' "${nobody[@]}" "$bin/scx_mpg" set --slice-us 1000
check '  and nothing is changed' "$(setting slice_us)" test "$(setting slice_us)" = 3000
refused 'a second instance' 'already' "$bin/scx_mpg"
check '  in one line' "$(grep -c . "$work/err") lines" test "$(grep -c . "$work/err")" = 1
assert_enabled
check 'the first still answers' "$(setting slice_us)" test "$(setting slice_us)" = 3000

begun=$(now_ms)
kill -KILL $mpg
wait_state disabled
check 'kill -9 gives the machine back' "$(state) after $(($(now_ms) - begun)) ms" test "$(state)" = disabled
mpg=
end_loads
sockets=$(find /run/scx* -type s -printf "%p ")
check "its sockets are left" "$sockets" test -n "$sockets"
refused 'show after kill -9' 'no scx_mpg is running' "$bin/scx_mpg" show
start_mpg
check 'another one loads over them' "$(state), slice $(setting slice_us)" test "$(setting slice_us)" = 5000
finishes 'a load under it' "$bin/mpg-bench" wake -m 1 -t 8 -F 16 -n 1 -r 1
stop_mpg
assert_conserved
assert_dmesg_clean
finish
