#!/usr/bin/env bash
# What --metrics serves, at an address and at a Unix socket: to whom, and that nobody can hold it up.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

readonly PORT=9190
socket=/run/scx_mpg/metrics.sock
ip link set lo up 2>/dev/null || busybox ip link set lo up

scrape() { # [PATH [METHOD]]: from the address, without starting a program
    exec {fd}<>/dev/tcp/127.0.0.1/$PORT
    printf '%s %s HTTP/1.1\r\nHost: localhost\r\n\r\n' "${2:-GET}" "${1:-/metrics}" >&$fd
    cat <&$fd
    exec {fd}>&-
}
body() { sed '1,/^\r$/d' "$1"; }
from_socket() { curl --silent --show-error --max-time 10 --unix-socket $socket http://localhost/metrics; }

refused 'an address that others can reach' 'reached by other machines' "$bin/scx_mpg" --metrics 0.0.0.0:$PORT
refused 'what is no address' 'expected an IP address' "$bin/scx_mpg" --metrics localhost

mkdir -m 755 "$work/run"
touch "$work/run/file"
before=$(loads)
refused 'an address that is taken' 'in the way' "$bin/scx_mpg" --metrics "unix:$work/run/file"
check '  before anything is loaded' "$before loads, then $(loads)" test "$(loads)" = "$before"

start_mpg --metrics 127.0.0.1:$PORT --metrics $socket --control-group nogroup || { finish; exit 1; }
# A silent client is waited for 2 s. A busy host may take that long for anything, but not three times in a row.
for _ in 1 2 3; do
    silent=()
    for _ in {1..20}; do
        exec {fd}<>/dev/tcp/127.0.0.1/$PORT
        silent+=("$fd")
    done
    begun=$(now_ms)
    scrape >"$work/scrape"
    took=$(($(now_ms) - begun))
    for fd in "${silent[@]}"; do exec {fd}>&-; done
    [[ $took -ge 2000 ]] || break
done
check 'twenty silent clients hold nobody up' "$took ms" test "$(tail -n 1 "$work/scrape") $((took < 2000))" = '# EOF 1'

from_socket >"$work/text"
check 'a Unix socket serves OpenMetrics' "$(grep -c . "$work/text") lines" test "$(tail -n 1 "$work/text")" = '# EOF'
mode=$(command stat -c '%a %G' $socket)
check '  to the group' "$mode" test "$mode" = '660 nogroup'
refused '  and to nobody else' 'connect' setpriv --reuid 65533 --regid 65533 --clear-groups \
    curl --silent --show-error --unix-socket $socket http://localhost/metrics

"$bin/mpg-bench" wake -m 2 -t 4 -F 16 -n 1 -r 60 >/dev/null 2>&1 &
sleep 1
# The statistics have their own patience, which a busy host may use up.
for _ in 1 2 3 4 5; do
    stat >"$work/before" && scrape >"$work/scrape" && stat >"$work/after" && break
done
body "$work/scrape" >"$work/text"
check 'an address serves OpenMetrics' "$(grep -c . "$work/text") lines" \
    grep -q '^Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8' "$work/scrape"
check '  to the end' "$(tail -n 1 "$work/text")" test "$(tail -n 1 "$work/text")" = '# EOF'
# Each count is what the statistics had before or after it, or something between.
counts() { sed -n 's/^  "\([a-z_]*\)": \([0-9]*\),*$/\1 \2/p' "$1"; }
agree() {
    awk '{ sub(/^scx_mpg_/, "") }
        FILENAME ~ /before$/ { before[$1] = $2 }
        FILENAME ~ /after$/ { after[$1] = $2 }
        FILENAME ~ /text$/ && sub(/_total$/, "", $1) && $1 in before {
            if (before[$1] <= $2 && $2 <= after[$1]) agree++; else print $1 " is " $2 ", was " before[$1] " and " after[$1]
        }
        END { print agree " agree" }' "$work/counts.before" "$work/counts.after" "$work/text"
}
counts "$work/before" >"$work/counts.before"
counts "$work/after" >"$work/counts.after"
agree >"$work/agree"
check '  with the counts of the statistics' "$(cat "$work/agree")" test "$(sed -n 's/ agree//p' "$work/agree")" -ge 30 -a "$(grep -c . "$work/agree")" = 1
nodes=$(find /sys/devices/system/node -maxdepth 1 -name 'node[0-9]*' | wc -l)
check '  and every node' "$(grep -c '^scx_mpg_node_decisions_total{node="[0-9]*"} [1-9]' "$work/text")" test "$(grep -c '^scx_mpg_node_decisions_total{node="[0-9]*"} [1-9]' "$work/text")" = "$nodes"
# For Prometheus's own tool, which would take minutes here: tests/guest/run asks it.
sed 's/^/served: /' "$work/text"
check 'another path' "$(scrape / | sed -n 1p)" grep -q '^HTTP/1.1 404 ' <(scrape /)
check 'another method' "$(scrape /metrics POST | sed -n 1p)" grep -q '^HTTP/1.1 405 ' <(scrape /metrics POST)

assert_enabled
stop_mpg
check 'the socket is gone' "$(ls $socket 2>&1)" test ! -e $socket
assert_conserved
assert_dmesg_clean
finish
