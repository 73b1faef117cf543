#!/usr/bin/env bash
# What a thousand changes of policy a minute cost those who wait, judged in virtual time (tests/guest/run). The p99 of one
# round with changes or without differs by a quarter from the next, hence several rounds in turn.
#   MPG_ROUNDS, MPG_ROUND_S: rounds, and seconds of each; MPG_SAME=1: also with the same policy again and again
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

readonly ROUNDS=${MPG_ROUNDS:-4} ROUND_S=${MPG_ROUND_S:-3}
policies=(latency throughput global fifo mpg)

# A change each 60 ms from before the load until after it; the same policy again is a change like any other.
served() { # NAME POLICY...: adds to the p99 of wakeups of NAME, in microseconds
    local name=$1 asker line
    shift
    if [[ $# -gt 0 ]]; then
        /usr/bin/python3 -IS "$(dirname "$0")/switcher.py" $(((ROUND_S + 1) * 1000 / 60)) $((ROUND_S + 1)) "$@" >"$work/asker" 2>&1 &
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

declare -A sum
start_mpg
for ((round = 0; round < ROUNDS; round++)); do
    "$bin/scx_mpg" set --policy mpg >/dev/null
    served steady
    [[ -z ${MPG_SAME:-} ]] || served same mpg
    served changing "${policies[@]}"
done
steady=$((sum[steady] / ROUNDS))
for name in ${MPG_SAME:+same} changing; do
    p99=$((sum[$name] / ROUNDS))
    check "p99 with changes to the ${name/changing/next} policy" "$p99 us, $steady without" test $((2 * p99 <= 3 * steady)) = 1
done
assert_enabled
stop_mpg
assert_conserved
assert_dmesg_clean
finish
