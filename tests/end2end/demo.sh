#!/bin/sh
# demo.sh MIEN FOLDER: the whole main job on a few samples, then once more: the repeat must do nothing again. Checks what
# a user is promised to find, not how good it is.
set -eu
MIEN=$1 MIEN_DEMO=$2/demo
export MIEN MIEN_DEMO
here=$(cd "$(dirname "$0")/../.." && pwd)
out=$MIEN_DEMO-quick
rm -rf "$out"
fail() { echo "FAIL $*"; exit 1; }

sh "$here/recipes/demo.sh" --quick >"$2/demo.log" 2>&1 || { tail -n 30 "$2/demo.log"; fail "the demo ended with an error"; }
grep -q "it ended with 85" "$out/log/pretrain.txt" || fail "pre-training was not interrupted with 85"
grep -q "resuming from" "$out/log/pretrain.txt" || fail "pre-training did not resume"
[ -s "$out/runs/simmim/reconstructions.png" ] || fail "no picture of reconstructions"
for t in expr au va; do
  [ -n "$(find "$out/out/submission-$t" -type f -size +0 2>/dev/null)" ] || fail "no submission for $t"
done
grep -q "valence, arousal: fusion" "$out/out/table.txt" || fail "no table"
grep -qE "nan|inf" "$out/out/table.txt" && fail "the table has numbers that are none"
sh "$here/recipes/demo.sh" --quick >"$2/demo.again.log" 2>&1 || fail "the repeat ended with an error"
[ "$(grep -c 'done before' "$2/demo.again.log")" = "$(find "$out/done" -type f | wc -l)" ] || fail "the repeat did work again"
echo "demo: ok"
