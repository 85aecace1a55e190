#!/bin/sh
# Runs one job of rank_faults under mpirun and checks how it ends.
#   faults.sh MPIRUN PROGRAM CASE RANKS
# Every job must be over within LIMIT seconds and leave no process behind.
set -u
mpirun=$1 program=$2 name=$3 ranks=$4
limit=60 # a loaded machine; the deadline of a hanging step is 5 s
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
touch "$dir/metrics.jsonl"
fail() {
    echo "FAILED: $name: $*"
    cat "$dir/out" "$dir"/faults/*.json 2>/dev/null
    for r in $(seq 0 $last); do is_gone "$(pid_of "$r")" || kill -9 "$(pid_of "$r")"; done
    exit 1
}
has() { grep -q -- "$2" "$dir/$1" || fail "no '$2' in $1"; }
is_gone() { [ -z "$1" ] || [ ! -e "/proc/$1" ] || grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }

pid_of() { cat "$dir/pid.$1" 2>/dev/null; }

# A file system that is dead: no report can be written, and no rank may wait for one. Of two ranks one is stopped, so
# nobody else can end the job.
[ "$name" != mute ] || { ranks=2; export MIEN_FAULT=watchdog.report:1=stall; }
start=$(date +%s)
"$mpirun" --oversubscribe --bind-to none --timeout 90 -n "$ranks" "$program" "$name" "$dir" >"$dir/out" 2>&1 &
job=$!
last=$((ranks - 1))
wait_for() { for _ in $(seq 1000); do [ -s "$dir/$1" ] && return; sleep 0.05; done; fail "$1 did not appear"; }
case $name in
launcher) for r in $(seq 0 $last); do wait_for "pid.$r"; done; kill -9 $job ;;
pause) # stopped for a while that is shorter than the deadline, then goes on
    wait_for "pid.$last"
    for _ in $(seq 1000); do grep -q '^State:.T' "/proc/$(pid_of "$last")/status" && break; sleep 0.05; done
    sleep 1.5; kill -CONT "$(pid_of "$last")" ;;
interrupt) # once more until it has ended: two that come before the first is handled count as one
    wait_for "pid.0"
    for _ in $(seq 200); do is_gone "$(pid_of 0)" && break; kill -INT "$(pid_of 0)"; sleep 0.1; done ;;
esac
wait $job
code=$?
for _ in $(seq 200); do # mpirun may be gone before the last of its children is
    left=0
    for r in $(seq 0 $last); do is_gone "$(pid_of "$r")" || left=1; done
    [ $left = 0 ] && break
    sleep 0.05
done
took=$(($(date +%s) - start))
for r in $(seq 0 $last); do is_gone "$(pid_of "$r")" || fail "rank $r is still there"; done
[ $took -le $limit ] || fail "took $took s"

expect() { [ $code = "$1" ] || fail "exit status $code, expected $1"; }
case $name in
slow) expect 0; has out 'rank 1 .* is slow: the others spend [4-9][0-9] %' ;; # 40 ms a step, 30 of them late
none | pause) expect 0; [ -z "$(ls "$dir/faults")" ] || fail "a report without a fault" ;;
kill | crash | leave) # the launcher has the status of the dead one
    [ $code != 0 ] || fail "exit status 0"
    grep -q '"kind": "peer"' "$dir"/faults/*.json || fail "no report names the dead"
    has metrics.jsonl '"event":"fault","kind":"peer"'
    has faults/rank-0.json "\"suspect_rank\": $last"; has faults/rank-0.json '"phase": "step"' ;;
stop | stuck)
    expect 75
    has faults/rank-0.json '"kind": "\(deadline\|told\)"'; has faults/rank-0.json "\"suspect_rank\": $last"
    has faults/rank-0.json '"step": 8'; has faults/rank-0.json 'sum of gradients'; has faults/rank-0.json '"running": true'
    has faults/rank-0.json 'rank_faults' # the stack names the program
    # A rank whose own watchdog ends it has not moved: its stack is that of its waiting. Or that of its end, when another
    # gave up at the same moment.
    for r in $(seq 0 $((last - 1))); do
        ! grep -q '"kind": "deadline"' "$dir/faults/rank-$r.json" ||
            has "faults/rank-$r.json" 'dist_buckets_wait\|dist_watchdog_stop'
    done ;;
mute) expect 75; [ -z "$(ls "$dir/faults")" ] || fail "a report in spite of the stall" ;;
starved) expect 75; has "faults/rank-$last.json" '"phase": "data"'; has out 'rank' ;;
error) expect 65; has out 'shard 7 is damaged'; [ "$(grep -c 'shard 7' "$dir/out")" = 1 ] || fail "said twice" ;;
order) expect 70; has out 'sum of doubles'; has out 'barrier' ;;
usr2) expect 85; [ "$(grep -c 'stops at step 9, no time on 0' "$dir/out")" = "$ranks" ] || fail "not all stopped" ;;
term) expect 75; has out 'no time on 1' ;;
differ) expect 78; has out "differ in 'recipe'"; has out 'rank 1' ;;
launcher) has faults/rank-0.json '"kind": "launcher"' ;;
interrupt) [ $code != 0 ] || fail "exit status 0"; has out 'second interrupt' ;;
esac
echo "$name with $ranks ranks: exit $code after $took s"
