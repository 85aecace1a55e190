#!/bin/sh
# Many records in many shards: every rank reads its own, and every number of ranks sees the same samples in the same steps,
# in every way of sampling; going on in the middle is equal to the last bit; copies on the node change nothing.
#   lanes.sh MIEN MPIRUN PROGRAMS RECORDS
. "$(dirname "$0")/common.sh"
records=$1
"$programs/make_records" "$work/data/records" "$records" 16 || exit 1
ids() { grep -o '"ids":"[0-9a-f]*"' "$(metrics "$1")"; }
train() { n=$1 name=$2; shift 2; job "$n" records "$name" "$@"; }
same() {
  [ "$(ids "$1" | wc -l)" = 6 ] || wrong "$1 has not six steps"
  [ "$(ids "$1")" = "$(ids "$2")" ] || wrong "$1 and $2 saw other samples"
}

"$mien" bench data "$work/data/records" --batch 24 >"$work/out" || wrong "bench data"
cat "$work/out"
grep -q ' 4 lanes' "$work/out" || wrong "these records make four lanes"

say "ranks:"
ends 0 train 1 one
for ranks in 2 4 8; do
  ends 0 train $ranks on-$ranks && same on-$ranks one
done

say "copies on the node:"
mkdir "$work/node"
ends 0 train 2 staged stage.dir="$work/node" && same staged one
[ "$(find "$work/node" -name '*.part' | wc -l)" = 0 ] || wrong "half copies are left"
cmp -s "$(model staged 6)" "$(model on-2 6)" || wrong "weights differ with copies"

say "going on:"
ends 0 train 2 halves train.steps=3 && ends 0 train 2 halves && same halves one
cmp -s "$(model halves 6)" "$(model on-2 6)" || wrong "weights differ after going on"

set_of() {
  case $1 in
  mixture) echo 'data=[{set: records, split: train, weight: 0.5}, {set: faces, split: train, weight: 3}]' ;;
  *) echo "sampling.by=$1" ;;
  esac
}
for way in mixture expression video; do
  say "$way:"
  ends 0 train 1 "$way" "$(set_of $way)"
  ends 0 train 3 "$way-3" "$(set_of $way)" && same "$way-3" "$way"
  ends 0 train 4 "$way-half" "$(set_of $way)" train.steps=2 && ends 0 train 2 "$way-half" "$(set_of $way)" &&
    same "$way-half" "$way"
  [ "$(ids "$way")" != "$(ids one)" ] || wrong "$way is no other way"
done
ends 78 train 1 nobody sampling.by=identity && tells "no persons"
done_with
