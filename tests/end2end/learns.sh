#!/bin/sh
# The demo learns what it claims: its scores, of people never seen, against fixed thresholds; fusion against the better
# single stream as a mean of three seeds; and the same network on shuffled labels, which must learn nothing. About 15
# minutes on two cores; a repeat in the same folder goes on where it was.
#   learns.sh MIEN MPIRUN FOLDER
set -eu
MIEN=$1 mpirun=$2 MIEN_DEMO=$3/learns
export MIEN MIEN_DEMO
source=$(cd "$(dirname "$0")/../.." && pwd)
shards=$MIEN_DEMO/shards runs=$MIEN_DEMO/runs out=$MIEN_DEMO/out shuffled=$MIEN_DEMO/shuffled
failed=0

sh "$source/recipes/demo.sh" || exit 1
cp "$out/table.txt" "$3/learns.table.txt"

log=$MIEN_DEMO/log/learns.txt
# said COMMAND...: what it says goes to the log; the script ends where it fails.
said() {
  "$@" 2>>"$log" && return
  tail -n 5 "$log" >&2
  echo "learns: '$*' failed; all of its output is in $log; the same test goes on from here" >&2
  exit 1
}
count=${MIEN_RANKS:-2} device=${MIEN_DEVICE:-cpu} # as the demo has them
ranks() { said "$mpirun" -n "$count" --oversubscribe --bind-to none "$MIEN" "$@" >>"$log"; }
member() { sed -n "s/.*\"$2\": *\([^],}]*\).*/\1/p" "$1" | tr -d '[] '; }
calc() { awk "BEGIN { printf \"%.4f\", $* }"; }
# expect WHAT VALUE RELATION BOUND
expect() {
  if awk "BEGIN { exit !($2 $3 $4) }"; then verdict=ok; else verdict=FAIL failed=1; fi
  printf '%-4s %-52s %8s %s %s\n' "$verdict" "$1" "$2" "$3" "$4"
}

# The same fusion and single streams with two more seeds.
fusion() { # SEED RUN [key=value ...]
  seed=$1 run=$2-$1; shift 2
  [ -s "$out/$run.json" ] && return
  ranks train "$source/recipes/cca/demo.yaml" paths.data="$shards" paths.runs="$runs" threads=1 device="$device" seed="$seed" \
    run="$run" "$@"
  said "$MIEN" eval "$source/recipes/cca/demo.yaml" --weights "$run" --json paths.data="$shards" paths.runs="$runs" \
    device="$device" run="$run" "$@" >"$out/new.json"
  mv "$out/new.json" "$out/$run.json"
}
for seed in 2 3; do
  fusion $seed fusion-va
  fusion $seed only-image features.only=image
  fusion $seed only-sound features.only=audio
done

# The training videos' rows dealt out anew over all of them; the validation labels stay as they are.
shuffle() { # CHALLENGE
  folder="$shuffled/raw/affwild2/6th ABAW Annotations/$1/Train_Set"
  for f in "$folder"/*.txt; do tail -n +2 "$f"; [ -z "$(tail -c 1 "$f")" ] || echo; done |
    awk 'BEGIN { srand(1) } { print rand() "\t" $0 }' | sort -g -k 1,1 | cut -f 2- >"$shuffled/rows"
  line=1
  for f in "$folder"/*.txt; do
    rows=$(($(wc -l <"$f") - 1)) # one more where the last line has no end: the next file begins with it
    [ -z "$(tail -c 1 "$f")" ] || rows=$((rows + 1))
    { head -n 1 "$f"; tail -n +$line "$shuffled/rows" | head -n $rows; } >"$shuffled/new"
    mv "$shuffled/new" "$f"
    line=$((line + rows))
  done
}
if [ ! -f "$shuffled/shards/affwild2/manifest.json" ]; then # the last file of an import
  rm -rf "$shuffled"
  mkdir -p "$shuffled/raw"
  cp -r "$MIEN_DEMO/raw/affwild2" "$shuffled/raw/affwild2"
  shuffle EXPR_Recognition_Challenge
  ranks data import affwild2 --src "$shuffled/raw/affwild2" --out "$shuffled/shards/affwild2"
fi
if [ ! -s "$out/shuffled.json" ]; then
  set -- paths.data="$shuffled/shards" paths.runs="$runs" threads=1 device="$device" run=shuffled train.steps=1000
  ranks train "$source/recipes/affwild2/demo.yaml" "$@"
  said "$MIEN" eval "$source/recipes/affwild2/demo.yaml" --weights shuffled --json "$@" eval.stride=1 >"$out/new.json"
  mv "$out/new.json" "$out/shuffled.json"
fi

f1=$(member "$out/image-expr.json" expr_f1) grey=$(member "$out/grey-expr.json" expr_f1)
au=$(member "$out/image-au.json" au_f1) au_chance=$(member "$out/image-au.json" chance)
simmim=$(grep '"event":"eval"' "$runs/simmim/metrics.jsonl" | tail -n 1 | sed -n 's/.*"over_mean_colour":\([^,}]*\).*/\1/p')
ccc() { member "$out/$1.json" ccc_mean; }
mean3() { calc "($(ccc "$1") + $(ccc "$1-2") + $(ccc "$1-3")) / 3"; }
fusion=$(ccc fusion-va) fusions=$(mean3 fusion-va) image=$(mean3 only-image) sound=$(mean3 only-sound)
expect "SimMIM loss over that of the mean colour" "$simmim" "<=" 0.7
expect "chance of expressions" "$(member "$out/image-expr.json" chance)" "<=" 0.125
expect "expressions, macro F1" "$f1" ">=" 0.45
expect "expressions, over the linear model on grey pixels" "$(calc "$f1 - $grey")" ">=" 0.15
expect "expressions from shuffled labels, macro F1" "$(member "$out/shuffled.json" expr_f1)" "<=" 0.14
expect "action units, mean F1 over calling all active" "$(calc "$au - $au_chance")" ">=" 0.15
expect "valence and arousal, mean CCC of the fusion" "$fusion" ">=" 0.45
expect "fusion over image only, mean of 3 seeds" "$(calc "$fusions - $image")" ">=" 0.03
expect "fusion over sound only, mean of 3 seeds" "$(calc "$fusions - $sound")" ">=" 0.03
total=0
for f in "$MIEN_DEMO"/done/*; do total=$((total + $(cat "$f"))); done
echo "     the demo's work took $total s"
exit $failed
