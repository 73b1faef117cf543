#!/usr/bin/env bash
# scx_mpg top: its screens in two sizes, its keys, what it leaves behind, and its lines of text.
#   MPG_GOLDENS=show has it print the screens, masked as they are compared: what goes into goldens/ is looked at first.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

goldens=$(cd "$(dirname "$0")" && pwd)/goldens
export LANG=C.UTF-8 TERM=screen

# As in-guest does with what is started often.
cp "$(command -v tmux)" "$(command -v stty)" "$work"
terminal() { "$work/tmux" -S "$work/socket" "$@"; }
screen() { terminal capture-pane -p; }
keys() { terminal send-keys "$@"; }
asked() { terminal display -p "$1"; }

# Structure is compared, not figures: a number with its unit is #, and CPUs with what is right of them are CPUS. What comes
# and goes with steals is left out, and so are the width of columns and empty lines.
masked() {
    sed -E -e 's/no node took a task from another//; s/ +[0-9]+ ──▶.*//' \
        -e 's/[▁▂▃▄▅▆▇█·]( *[▁▂▃▄▅▆▇█·])*/~/g' \
        -e 's/^  [lnbio.x]+( +~)?$/ CPUS/; s/^ *~$//' \
        -e 's/ALERT [a-z, ]*[a-z]|no alerts/ALERTS/' \
        -e 's/ fallback / # /; s/ - / # /g; s/ -$/ #/' \
        -e 's/[0-9]+ h [0-9]+ min|[0-9]+(\.[0-9]+)*(%|[kMG]\b)?( (us|ms|s|min)\b)?/#/g' \
        -e 's/~ ?//g; s/ +/ /g; s/ $//' | grep .
}

shows() { # WORDS: fails if they do not come on the screen
    local deadline=$((SECONDS + 30))
    until screen | grep -q -- "$1"; do
        [[ $SECONDS -lt $deadline ]] || return 1
        sleep 0.1
    done
}

# What came in the middle of a drawing is drawn again half a second later.
is_golden() { # NAME
    local deadline=$((SECONDS + 15))
    until screen | masked | diff "$goldens/$1" - >"$work/diff"; do
        [[ $SECONDS -lt $deadline ]] || return 1
        sleep 0.2
    done
}

looks_like() { # WHAT NAME
    shows CLASS
    [[ ${MPG_GOLDENS:-} != show ]] || { screen; echo "---- masked:" && screen | masked; }
    if is_golden "$2"; then check "$1" "$2" true; else check "$1" "$(cat "$work/diff")" false; fi
}

# The mode of the terminal, whether the cursor is seen, and whether the second screen is.
terminal_is() { echo "$("$work/stty" -g <"$tty") $(asked '#{cursor_flag} #{alternate_on}')"; }

in_terminal() { # COMMAND...: run by the shell there
    keys "$*" Enter
}

is_left_as_it_was() { # WHAT
    local is
    shows 'code [0-9]'
    is=$(terminal_is)
    check "$1: the terminal is as it was" "$is" test "$is" = "$before"
    is=$(screen)
    check '  with what was on it' "${is%%$'\n'*}" grep -q '^before it' <<<"$is"
}

refused 'top with none running' 'no scx_mpg is running' "$bin/scx_mpg" top
refused 'top --plain with none running' 'no scx_mpg is running' "$bin/scx_mpg" top --plain

start_mpg --control-group nogroup
# Two share a CPU, so that there are waits, and the others are for the terminal.
for _ in 1 2; do taskset -c 3 bash -c 'while :; do :; done' & done

printf 'set -g status off\nset -g default-command "PS1=\\"$ \\" exec bash --norc --noprofile"\n' >"$work/tmux.conf"
terminal -f "$work/tmux.conf" new-session -d -x 80 -y 24
tty=$(asked '#{pane_tty}')
in_terminal "cd $bin && echo before it"
shows '^before it'
before=$(terminal_is)
in_terminal 'clear; echo before it; ./scx_mpg top --interval 0.5; echo code $?'
looks_like 'a picture of 80x24' top-80x24.txt
flags=$(asked '#{cursor_flag} #{alternate_on}')
check '  without a cursor, on the second screen' "$flags" test "$flags" = '0 1'
terminal resize-window -x 200 -y 60
shows COUNTERS
looks_like '  of 200x60 once it is so large' top-200x60.txt
terminal resize-window -x 50 -y 10
check '  a sentence once it is too small' "$(screen | head -n 1)" shows 'columns and 12 lines'
terminal resize-window -x 80 -y 24

keys '?'
check '? shows the help' '' shows 'any key closes'
keys x p
check 'p shows the policies' '' shows '> mpg'
keys p
check '  and goes on to the next' '' shows '> latency'
keys Enter
check 'Enter sets it' '' shows 'policy latency'
policy=$("$bin/scx_mpg" show | head -n 1)
check '  as show says' "$policy" test "$policy" = 'policy latency'
keys u
check 'u takes it back' '' shows 'policy mpg'
keys u
check '  and says when there is nothing left' '' shows 'there is nothing to undo'
keys x Space
check 'space pauses' '' shows PAUSED
keys q
is_left_as_it_was 'q'
check '  and ends with 0' "$(screen | grep code)" shows '^code 0'

in_terminal 'clear; echo before it; setpriv --reuid 65534 --regid 65534 --clear-groups ./scx_mpg top; echo code $?'
shows 'q quit'
keys p p Enter
check 'who may look only is told so' '' shows root
shell=$(asked '#{pane_pid}')
read -r top <"/proc/$shell/task/$shell/children"
kill -TERM "$top"
is_left_as_it_was 'SIGTERM'

"$bin/scx_mpg" top --interval 0.2 --count 2 | cat >"$work/plain"
nodes=$(find /sys/devices/system/node -maxdepth 1 -name 'node[0-9]*' | wc -l)
check 'into a pipe go lines of text' "$(head -n 1 "$work/plain")" test "$(grep -c '^scx_mpg policy=mpg profile=default ' "$work/plain")" = 2
check '  a line for each node' "$(grep -m 1 '^node' "$work/plain")" test "$(grep -cE '^node [0-9]+ cpus=[lnbiox.]+ p=[0-9]+ ' "$work/plain")" = $((2 * nodes))
check '  and for classes that ran' "$(grep -m 1 '^class batch' "$work/plain")" grep -qE '^class batch starts=[0-9.k]+/s p50=[0-9.]+(u|m)s ' "$work/plain"
check '  no other characters' '' test -z "$(LC_ALL=C grep '[^ -~]' "$work/plain")"

in_terminal 'clear; echo before it; ./scx_mpg top; echo code $?'
shows 'q quit'
assert_enabled
stop_mpg
is_left_as_it_was 'the end of the scheduler'
check '  with a sentence' "$(screen | grep ended)" shows 'has ended'
check '  and code 1' "$(screen | grep code)" shows '^code 1'
terminal kill-server
assert_conserved
assert_dmesg_clean
finish
