#!/usr/bin/env bash
# What a thousand changes of policy a minute cost those who wait, judged in virtual time (tests/guest/run): the same policy
# again and again beside no change at all, and all policies in turn beside the same ones held for as long in all, since each
# has a p99 of its own. That of one round differs by a quarter from the next, hence several rounds in turn.
#   MPG_ROUNDS, MPG_ROUND_S: rounds, and seconds of each
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

readonly ROUNDS=${MPG_ROUNDS:-6} ROUND_S=${MPG_ROUND_S:-3} EACH_MS=60
policies=(latency throughput global fifo mpg)

# With a change each so many milliseconds, from before the load until after it.
served() { # NAME [EACH_MS POLICY...]: adds to the p99 of wakeups of NAME, in microseconds
    local name=$1 asker line
    shift
    if [[ $# -gt 0 ]]; then
        /usr/bin/python3 -IS "$(dirname "$0")/switcher.py" $(((ROUND_S + 1) * 1000 / $1)) $((ROUND_S + 1)) "${@:2}" >"$work/asker" 2>&1 &
        asker=$!
        sleep 0.3
    fi
    "$bin/mpg-bench" wake -m 2 -t 4 -F 16 -n 1 -r "$ROUND_S" --json "$work/bench.json" >/dev/null 2>&1
    line="$(figure wakeup_p50_us) $(figure wakeup_p99_us) $(figure wakeup_p999_us) $(figure request_p99_us) $(figure requests_per_second)"
    echo "$name: wakeup p50, p99, p99.9, request p99, requests/s: $line"
    if [[ $# -gt 0 ]]; then
        wait $asker
        check "  all changes were made" "$(<"$work/asker")" test $? = 0
    fi
    sum[$name]=$((${sum[$name]:-0} + $(figure wakeup_p99_us)))
}
figure() { sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p" "$work/bench.json"; }

# Whether the p99 of NAME is within one and a half of that of STEADY.
is_near() { # NAME STEADY
    local p99=$((sum[$1] / ROUNDS)) steady=$((sum[$2] / ROUNDS))
    check "p99 of $1 beside $2" "$p99 us, $steady us" test $((2 * p99 <= 3 * steady)) = 1
}

declare -A sum
start_mpg
for ((round = 0; round < ROUNDS; round++)); do
    "$bin/scx_mpg" set --policy mpg >/dev/null
    served steady
    served again $EACH_MS mpg
    served held $((ROUND_S * 1000 / ${#policies[@]})) "${policies[@]}"
    served changing $EACH_MS "${policies[@]}"
done
is_near again steady
is_near changing held
assert_enabled
stop_mpg
assert_conserved
assert_dmesg_clean
finish
