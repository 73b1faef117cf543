#!/usr/bin/env bash
# Changing what is loaded: profiles, changes that pass or are taken back, a config file and who may look; and as many
# changes of policy as a script could ask for, under load.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

readonly CHANGES=1000 CHANGES_S=60
config=$work/mpg.toml
policy() { "$bin/scx_mpg" show --json | sed -n 's/.*"policy": *"\([a-z]*\)".*/\1/p'; }
becomes() { # SECONDS COMMAND...: prints what it said last; fails if WANTED does not come
    local deadline=$((SECONDS + $1)) said
    shift
    until said=$("$@") && [[ $said == "$wanted" ]]; do
        [[ $SECONDS -lt $deadline ]] || { echo "$said"; return 1; }
        sleep 0.1
    done
    echo "$said"
}
comes_to() { # WHAT WANTED SECONDS COMMAND...
    local what=$1 wanted=$2 said code=0
    shift 2
    said=$(becomes "$@") || code=1
    check "$what" "$said" test $code = 0
}

printf 'policy = "latency"\nslice-us = 4000\nclass = ["comm=nginx:latency"]\n' >"$config"
finishes 'check-config' "$bin/scx_mpg" check-config "$config"
check '  shows what it makes' "$(grep -E 'policy|^slice-us' "$work/out" | tr '\n' ' ')" grep -q 'slice-us *4000' "$work/out"
printf 'slice-us = 4000\nslice = 3\n' >"$work/bad.toml"
refused 'a key that there is not' 'no setting "slice"' "$bin/scx_mpg" check-config "$work/bad.toml"
printf 'slice-us = 4000\npolicy = \n' >"$work/bad.toml"
refused 'a file that is not TOML' 'line 2 is not TOML' "$bin/scx_mpg" check-config "$work/bad.toml"
refused 'a file that is not there' 'absent.toml' "$bin/scx_mpg" --config "$work/absent.toml"

chmod 755 "$work"
start_mpg --config "$config" --control-group nogroup
check 'the file is in force' "$(policy) $(setting slice_us)" test "$(policy) $(setting slice_us)" = 'latency 4000'

finishes 'a change for 6 s' "$bin/scx_mpg" set --for 6 --slice-us 2000
during=$(grep -E '^slice-us|^returns-in-s' "$work/out" | tr '\n' ' ')
check '  is in force' "$during" test "${during%returns*}" = 'slice-us 2000 '
comes_to '  and goes back' 4000 60 setting slice_us
finishes 'a profile' "$bin/scx_mpg" set --profile server
check '  is in force' "$(policy) $(setting steal_after_us)" test "$(policy) $(setting steal_after_us)" = 'mpg 2000'
finishes 'set --undo' "$bin/scx_mpg" set --undo
check '  takes all of it back' "$(policy) $(setting slice_us)" test "$(policy) $(setting slice_us)" = 'latency 4000'
refused 'undo with nothing left' 'no change' "$bin/scx_mpg" set --undo
refused 'a time that is none' 'expected 1 to' "$bin/scx_mpg" set --for 0 --slice-us 2000

printf 'policy = "mpg"\nslice-us = 3000\n' >"$config"
kill -HUP "$mpg"
comes_to 'the file is read again on SIGHUP' 3000 30 setting slice_us
printf 'slice-us = 1\n' >"$config"
kill -HUP "$mpg"
comes_to 'a bad file is refused' 1 30 grep -c 'the settings stay as they are' "$log"
check '  and nothing is changed' "$(setting slice_us)" test "$(setting slice_us)" = 3000

member=(setpriv --reuid 65534 --regid 65534 --clear-groups)
stranger=(setpriv --reuid 65533 --regid 65533 --clear-groups)
finishes 'show, by a member of the group' "${member[@]}" "$bin/scx_mpg" show
finishes 'stats, by a member of the group' "${member[@]}" "$bin/scx_mpg" stats entered
refused 'set, by a member of the group' 'as root' "${member[@]}" "$bin/scx_mpg" set --slice-us 2000
refused 'undo, by a member of the group' 'as root' "${member[@]}" "$bin/scx_mpg" set --undo
refused 'show, by a stranger' 'as root' "${stranger[@]}" "$bin/scx_mpg" show
refused 'stats, by a stranger' 'as root' "${stranger[@]}" "$bin/scx_mpg" stats
check '  and nothing is changed' "$(setting slice_us)" test "$(setting slice_us)" = 3000

# More than can wait, who connect and say nothing: each is hung up on after two seconds.
read -r -d '' silent <<'P'
import socket, time
peers = [socket.socket(socket.AF_UNIX) for _ in range(40)]
for peer in peers:
    peer.connect("/run/scx_mpg/control.sock")
print("connected", flush=True)
time.sleep(60)
P
"${member[@]}" /usr/bin/python3 -IS -c "$silent" >"$work/silent" 2>&1 &
holder=$!
comes_to 'a member keeps the socket busy' connected $PATIENCE_S cat "$work/silent"
finishes 'set, by root all the same' "$bin/scx_mpg" set --slice-us 2500
refused 'show, by another member meanwhile' 'too many\|did not answer' "${member[@]}" "$bin/scx_mpg" show
kill $holder
finishes 'undo, by root' "$bin/scx_mpg" set --undo

# Only here: under it each command above would take seconds, and control.sh sees commands obeyed under load.
full_load $((CHANGES_S + 30))
switched=$(/usr/bin/python3 -IS "$(dirname "$0")/switcher.py" $CHANGES $CHANGES_S 2>&1)
check 'the policy changes without end' "$switched" test $? = 0 -a "${switched#"$CHANGES changes"}" != "$switched"
assert_enabled
stop_mpg
assert_conserved
assert_dmesg_clean
finish
