# shellcheck shell=bash
# Sourced by the tests of this directory, which run as root in a guest. A test calls check and what builds on it; the
# exit code of the last command of the test, finish, tells whether all held.

bin=${SCX_MPG_BIN:?the directory of scx_mpg}
scx=/sys/kernel/sched_ext
work=$(mktemp -d)
log=$work/mpg.log
PATH=$PATH:/usr/sbin:/sbin

# What the kernel says when a scheduler, or the kernel itself under it, went wrong.
readonly TROUBLE='WARNING:|BUG:|Oops|blocked for more than|sched_ext.*(error|stall|warn)'
# The verifier takes 15 s of an idle emulator, and several times that of a busy one.
readonly PATIENCE_S=120

passed=0
failed=0
mpg=

check() { # WHAT SEEN COMMAND...: passes if the command succeeds
    local what=$1 seen=$2
    shift 2
    if "$@"; then
        passed=$((passed + 1))
        printf 'PASS %s: %s\n' "$what" "$seen"
    else
        failed=$((failed + 1))
        printf 'FAIL %s: %s\n' "$what" "$seen"
    fi
}

finish() {
    [[ -z $mpg ]] || stop_mpg
    end_loads
    if [[ $failed != 0 ]]; then
        echo '---- the last lines of scx_mpg and of the kernel:'
        tail -n 20 "$log"
        dmesg | tail -n 20
    fi
    rm -rf "$work"
    echo "checks: $passed passed, $failed failed"
    [[ $failed == 0 ]]
}

now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }
# Without a process of their own: under the loads of these tests starting one takes a while.
value_of() { local value=none && { read -r value <"$1"; } 2>/dev/null && echo "$value"; }
state() { value_of $scx/state; }
ops() { value_of $scx/root/ops; }
loads() { value_of $scx/enable_seq; }
stat() { "$bin/scx_mpg" stats "$@"; }
# CPU time of a process so far, in ticks of 10 ms.
ticks() { # PROCESS
    local stat fields
    stat=$(<"/proc/$1/stat") && read -ra fields <<<"${stat##*) }" && echo $((fields[11] + fields[12]))
}
setting() { "$bin/scx_mpg" show --json | sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p"; }

wait_state() { # STATE: fails if it does not come
    local deadline=$((SECONDS + PATIENCE_S))
    until [[ $(state) == "$1" ]]; do
        [[ $SECONDS -lt $deadline ]] || return 1
        sleep 0.05
    done
}

ends() { # PROCESS: fails if it does not end
    local deadline=$((SECONDS + PATIENCE_S))
    while kill -0 "$1" 2>/dev/null; do
        [[ $SECONDS -lt $deadline ]] || return 1
        sleep 0.05
    done
}

start_mpg() { # OPTIONS...: returns once it schedules, or fails
    local deadline=$((SECONDS + PATIENCE_S)) loads_before
    loads_before=$(loads)
    marker="scx_mpg test $$ $RANDOM"
    echo "$marker" >/dev/kmsg
    "$bin/scx_mpg" "$@" >"$log" 2>&1 &
    mpg=$!
    # The kernel counts a load shortly after it says enabled.
    until [[ $(state) == enabled && $(loads) != "$loads_before" ]]; do
        if ! kill -0 $mpg 2>/dev/null || [[ $SECONDS -ge $deadline ]]; then
            check 'loads' "state $(state): $(tail -n 3 "$log")" false
            return 1
        fi
        sleep 0.05
    done
    loaded_as=$(loads)
}

stop_mpg() { # [SIGNAL]: sets stop_ms, until the kernel's own scheduler is back, and stop_code
    local begun
    begun=$(now_ms)
    kill -s "${1:-INT}" "$mpg"
    wait_state disabled
    # shellcheck disable=SC2034  # for the tests
    stop_ms=$(($(now_ms) - begun))
    stop_code=0
    if ends "$mpg"; then
        wait "$mpg" 2>/dev/null || stop_code=$?
    else
        # A process that the kernel holds cannot be waited for, or the test would hang with it.
        check 'scx_mpg ends' "not within $PATIENCE_S s" false
    fi
    mpg=
}

kernel_said() { dmesg | sed "1,/$marker/d"; }

assert_enabled() { # since start_mpg, without a break
    local seen
    seen="$(state) $(ops), load $(loads)"
    check 'still enabled' "$seen" is_ours "$seen"
}

is_ours() { [[ $1 == "enabled mpg"*", load $loaded_as" ]]; }

assert_dmesg_clean() {
    local trouble
    trouble=$(kernel_said | grep -E "$TROUBLE")
    check 'the kernel complains of nothing' "${trouble:-nothing}" test -z "$trouble"
}

# After stop_mpg: all that entered a queue left it, and there was something.
assert_conserved() {
    local line
    line=$(grep '^conservation: ' "$log")
    check 'no task is lost' "${line:-no farewell}" conserved "$line"
    check 'ends with code 0' "$stop_code" test "$stop_code" = 0
}

conserved() { # LINE
    [[ $1 =~ entered\ ([0-9]+)\ =\ started\ ([0-9]+)\ \+\ cancelled\ ([0-9]+),\ lost\ 0\; ]] &&
        [[ ${BASH_REMATCH[1]} -gt 0 && ${BASH_REMATCH[1]} == $((BASH_REMATCH[2] + BASH_REMATCH[3])) ]]
}

# A program that fails must say one line on stderr, and the line must have these words.
refused() { # WHAT WORDS COMMAND...
    local what=$1 words=$2 code=0
    shift 2
    "$@" >"$work/out" 2>"$work/err" || code=$?
    check "$what: refused" "code $code" test $code != 0
    check "  and told why" "$(cat "$work/err")" grep -q -- "$words" "$work/err"
}

# Ends what a test left running in the background; to be called without scx_mpg, which would be one of them.
end_loads() {
    local pids
    jobs -p >"$work/jobs"
    mapfile -t pids <"$work/jobs"
    [[ ${#pids[@]} != 0 ]] || return 0
    kill -KILL "${pids[@]}" 2>/dev/null
    # Each by its number: a bare wait of bash 5.2 now and then never returns where the shell has a child that it did not
    # start, as a test has in what in-guest sends its output through.
    wait "${pids[@]}" 2>/dev/null
}

hogs() { # SECONDS: more than there are CPUs, in the background
    stress-ng --quiet --temp-path /tmp --cpu "$((2 * $(nproc)))" --cpu-method int64 --timeout "$1" &
}

full_load() { # SECONDS: hogs, and eight workers that compute, ask and sleep among them
    hogs "$1"
    "$bin/mpg-bench" wake -m 2 -t 4 -F 16 -n 1 -r "$1" >/dev/null 2>&1 &
}

finishes() { # WHAT COMMAND...: and that its work was done
    local what=$1 code=0 begun
    shift
    begun=$(now_ms)
    "$@" >"$work/out" 2>&1 || code=$?
    check "$what finishes" "code $code after $(($(now_ms) - begun)) ms$([[ $code == 0 ]] || tail -n 2 "$work/out")" test $code = 0
}
