#!/bin/bash
# Ranks on several "hosts" (network namespaces on a bridge): sums between groups over TCP, and a host that is cut off.
#   hosts.sh MPIRUN TEST_FOLDER sums|blip|cut        exit 77: skipped, with the reason
set -u
mpirun=$1 folder=$2 name=$3
here=$(cd "$(dirname "$0")" && pwd)
skip() { echo "SKIPPED: $*"; exit 77; }
[ "$(id -u)" = 0 ] || skip "network namespaces need root"
command -v ip >/dev/null && command -v nsenter >/dev/null || skip "needs iproute2 and util-linux"
dir=$(mktemp -d) || exit 1
export DTN_DIR=$dir/net DTN_PREFIX=mien$$h
cluster() { "$here/../netns-cluster.sh" "$@"; }
trap 'cluster down >/dev/null 2>&1; rm -rf "$dir"' EXIT
cluster up 2 >"$dir/up" 2>&1 || skip "no network namespaces here: $(tail -1 "$dir/up")"
a=${DTN_PREFIX}1 b=${DTN_PREFIX}2
printf '%s slots=2\n%s slots=2\n' "$a" "$b" >"$dir/hosts"
fail() { echo "FAILED: $name: $*"; cat "$dir/out"; exit 1; }
# The keepalive settings are what makes mpirun notice a dead link; without them it waits for ever.
launch() {
    cluster exec "$a" "$mpirun" --hostfile "$dir/hosts" --mca plm rsh --mca plm_rsh_agent "$DTN_DIR/rsh" \
        --mca plm_rsh_no_tree_spawn 1 --mca oob_tcp_if_include eth0 --mca btl_tcp_if_include eth0 \
        --mca oob_tcp_keepalive_time 3 --mca oob_tcp_keepalive_intvl 1 --mca oob_tcp_keepalive_probes 3 \
        --bind-to none --map-by ppr:2:node -x OMP_NUM_THREADS -x ASAN_OPTIONS -x LSAN_OPTIONS --timeout 90 "$@"
}
wait_for() { for _ in $(seq 400); do [ -s "$dir/pid.$1" ] && return; sleep 0.05; done; fail "rank $1 did not start"; }
is_gone() { [ ! -e "/proc/$1" ] || grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }

case $name in
sums)
    for t in dist.bucket_test:bucket/ranks dist.train_ranks_test:train/ranks; do
        launch "$folder/${t%%:*}" --filter "${t#*:}" >"$dir/out" 2>&1 || fail "exit status $? of $t"
        [ "$(grep -c 'Tested: 1 | Passing: 1' "$dir/out")" = 4 ] || fail "not 4 ranks passed $t"
    done ;;
blip | cut)
    mkdir -p "$dir/run"
    launch "$folder/rank_faults" "$name" "$dir" >"$dir/out" 2>&1 &
    job=$!
    for r in 0 1 2 3; do wait_for $r; done
    sleep 1
    cluster cut "$b"
    start=$(date +%s)
    if [ "$name" = blip ]; then
        sleep 3
        cluster heal "$b"
        wait $job || fail "exit status $?"
    else # the deadline is 4 s, and 5 s more is the promise; a loaded machine gets as much again
        for _ in $(seq 360); do
            left=0
            for r in 0 1 2 3; do is_gone "$(cat "$dir/pid.$r")" || left=1; done
            [ $left = 0 ] && break
            sleep 0.05
        done
        [ $left = 0 ] || fail "ranks are still there after $(($(date +%s) - start)) s"
        grep -q '"phase": "step"' "$dir"/faults/rank-0.json || fail "no report of rank 0"
        wait $job && fail "exit status 0"
    fi ;;
esac
echo "$name: passed"
