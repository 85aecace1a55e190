#!/bin/sh
# The main job on generated corpora with 2 ranks, from files as datasets come to a challenge submission; called by
# `sh bootstrap.sh demo [--quick]`. Everything it makes is under build/demo; a repeat continues where it was. --quick:
# the same path in about a minute on fewer samples, to see that it runs; its scores mean nothing. On GPUs, one rank each:
# MIEN_DEVICE=cuda MIEN_RANKS=1.
set -eu
cd "$(dirname "$0")/.."
quick=
[ "${1:-}" = --quick ] && quick=1
mien=${MIEN:-$PWD/build/release/mien}
home=${MIEN_DEMO:-$PWD/build/demo}
[ -n "$quick" ] && home=$home-quick
raw=$home/raw shards=$home/shards runs=$home/runs out=$home/out
mkdir -p "$raw" "$shards" "$runs" "$out" "$home/done" "$home/log"

export OMP_WAIT_POLICY=passive
[ "$(id -u)" = 0 ] && export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
cores=$(nproc)
count=${MIEN_RANKS:-2} device=${MIEN_DEVICE:-cpu}
threads=$((cores / count)); [ "$threads" -ge 1 ] || threads=1
launch() { n=$1; shift; mpirun -n "$n" --oversubscribe --bind-to none "$mien" "$@"; }
ranks() { launch "$count" "$@"; }

# sizes: full, or quick
size() { [ -n "$quick" ] && echo "$2" || echo "$1"; }
videos=$(size 400 12) frames=$(size 64 60) images=$(size 6000 300)

bold() { printf '\n\033[1m%s\033[0m\n' "$*"; }
say() { printf '   %s\n' "$*"; }

# The newest line of a file, again and again, for as long as this script lives.
watch() {
  while sleep 1 && kill -0 $$ 2>/dev/null; do printf '\r\033[K   %s' "$(tail -n 1 "$1" | cut -c1-110)"; done
}

# stage NAME WHY COMMAND...: runs the command once; its output goes to log/NAME.txt, its time to done/NAME.
stage() {
  name=$1; why=$2; log=$home/log/$1.txt; shift 2
  if [ -f "$home/done/$name" ]; then
    printf '%-14s done before (%s s)\n' "$name" "$(cat "$home/done/$name")"
    return
  fi
  bold "$name"
  say "$why"
  start=$(date +%s)
  : >"$log"
  watcher=
  [ -t 1 ] && { watch "$log" & watcher=$!; }
  # A subshell: its variables are its own. Not in a list with || or if: inside those set -e does nothing.
  set +e
  (set -e; "$@") >"$log" 2>&1
  code=$?
  set -e
  if [ -n "$watcher" ]; then kill "$watcher"; wait "$watcher" 2>/dev/null || :; printf '\r\033[K'; fi
  if [ "$code" != 0 ]; then
    tail -n 5 "$log" >&2
    echo "demo: stage $name ended with $code; its output is in $log; the same command goes on from here" >&2
    exit "$code"
  fi
  seconds=$(($(date +%s) - start))
  echo "$seconds" >"$home/done/$name"
  { grep -E '^demo: |resuming from' "$log" || :; tail -n 1 "$log"; } | cut -c1-150 | sed 's/^/   /'
  say "$seconds s"
}

where="paths.data=$shards paths.runs=$runs device=$device"
places="$where threads=$threads"
train() { recipe=$1; shift; ranks train "recipes/$recipe.yaml" $places "$@"; }
steps() { size "train.steps=$1" "train.steps=$2"; }

import() { launch 2 data import "$1" --src "$raw/$1" --out "$shards/$1" && "$mien" data verify "$shards/$1"; }
import_all() { for kind in affectnet celeba affwild2; do import $kind; done; }

lines() { if [ -f "$1" ]; then wc -l <"$1"; else echo 0; fi; }

# Pre-training is interrupted with a signal and goes on, to show that it can be.
pretrain() {
  metrics=$runs/simmim/metrics.jsonl
  before=$(lines "$metrics")
  # exec: the signal is for the launcher, which hands it to the ranks.
  (exec mpirun -n "$count" --oversubscribe --bind-to none "$mien" train recipes/simmim/demo.yaml $places \
    "$(steps 1600 40)" checkpoint.every="$(size 200 10)") &
  job=$!
  # Some steps of this start must have been made: before that nobody listens to signals.
  until [ "$(lines "$metrics")" -gt $((before + $(size 300 1))) ] || ! kill -0 $job 2>/dev/null; do sleep 0.2; done
  echo "demo: sending USR2 to the launcher"
  kill -USR2 $job 2>/dev/null || :
  code=0; wait $job || code=$?
  echo "demo: it ended with $code (85: saved, run again to go on)"
  [ "$code" = 85 ] || [ "$code" = 0 ] || return "$code"
  train simmim/demo "$(steps 1600 40)" checkpoint.every="$(size 200 10)"
}

extract() { # RECIPE RUN OUT [key=value ...]
  recipe=$1 weights=$2 to=$3; shift 3
  ranks extract "recipes/$recipe.yaml" --weights "$weights" --out "$to" $places "$@"
}
extract_image() { for t in expr au va; do extract "$(finetune_of $t)" image-$t features/image-$t; done; }
finetune_of() { [ "$1" = expr ] && echo affwild2/demo || echo affwild2/demo_$1; }
word() { case $1 in expr) echo expressions ;; au) echo "action units" ;; va) echo "valence and arousal" ;; esac; }
fusion_of() { [ "$1" = va ] && echo cca/demo || echo cca/demo_$1; }

score() { # RECIPE RUN NAME [key=value ...]
  recipe=$1 weights=$2 name=$3; shift 3
  "$mien" eval "recipes/$recipe.yaml" --weights "$weights" --json $where "$@" >"$out/$name.json"
}
score_all() {
  for t in expr au va; do
    score "$(finetune_of $t)" image-$t image-$t eval.stride=1
    score "$(fusion_of $t)" fusion-$t fusion-$t
  done
  score affwild2/demo scratch-expr scratch-expr eval.stride=1 run=scratch-expr
  score affwild2/demo_grey grey-expr grey-expr eval.stride=1
  score cca/demo only-image only-image run=only-image features.only=image
  score cca/demo only-sound only-sound run=only-sound features.only=audio
  echo "$(find "$out" -name '*.json' | wc -l) scores with intervals in $out"
}

predict() {
  for t in expr au va; do
    "$mien" predict "recipes/$(fusion_of $t).yaml" --weights fusion-$t --out "$out/submission-$t" --format abaw-image \
      $where
  done
}

get() { sed -n "s/.*\"$2\": *\([^,}]*\).*/\1/p" "$out/$1.json" | tr -d '[] '; }
interval() { sed -n "s/.*\"$2_ci\": *\[\([0-9.-]*\), *\([0-9.-]*\)\].*/\1 \2/p" "$out/$1.json" | xargs printf '%.3f to %.3f'; }
seconds() { cat "$home/done/$1" 2>/dev/null || echo -; }
# Of the last evaluation of a run: a member of metrics.jsonl.
last() { grep '"event":"eval"' "$runs/$1/metrics.jsonl" | tail -n 1 | sed -n "s/.*\"$2\":\([^,}]*\).*/\1/p"; }

oracle() { sed -n "s/.*\"$1\": *\([^,}]*\).*/\1/p" "$raw/oracle.json"; }

row() { printf '| %-30s | %-8s | %6s | %-16s | %6s | %6s | %6s |\n' "$@"; }
three() { printf '%.3f' "$1"; }
# result LABEL METRIC FILE KEY CHANCE ORACLE STAGE: a score of out/FILE.json with its interval.
result() {
  row "$1" "$2" "$(three "$(get "$3" "$4")")" "$(interval "$3" "$4")" "$(three "$5")" "$(three "$(oracle "$6")")" "$(seconds "$7")"
}

table() {
  line='+--------------------------------+----------+--------+------------------+--------+--------+--------+'
  expr_chance=$(get image-expr chance) au_chance=$(get image-au chance)
  echo "$line"
  row "people never seen in training" metric value "95 % of videos" chance oracle "time s"
  echo "$line"
  row "SimMIM, loss over mean colour" ratio "$(three "$(last simmim over_mean_colour)")" - 1.000 - "$(seconds pretrain)"
  result "expressions, grey linear" "macro F1" grey-expr expr_f1 "$expr_chance" expr_f1_face grey
  result "expressions, from scratch" "macro F1" scratch-expr expr_f1 "$expr_chance" expr_f1_face scratch
  result "expressions, from SimMIM" "macro F1" image-expr expr_f1 "$expr_chance" expr_f1_face finetune-expr
  result "expressions, fusion" "macro F1" fusion-expr expr_f1 "$expr_chance" expr_f1_face fusion-expr
  result "action units, image" "mean F1" image-au au_f1 "$au_chance" au_f1_face finetune-au
  result "action units, fusion" "mean F1" fusion-au au_f1 "$au_chance" au_f1_face fusion-au
  result "valence, arousal: image only" "mean CCC" only-image ccc_mean 0 ccc_mean_face only-image
  result "valence, arousal: sound only" "mean CCC" only-sound ccc_mean 0 ccc_mean_voice only-sound
  result "valence, arousal: fusion" "mean CCC" fusion-va ccc_mean 0 ccc_mean_both fusion-va
  echo "$line"
  echo "chance: expressions, always the commonest one; action units, all active; CCC, a constant."
  echo "oracle: an observer who reads off exactly what face and voice show at a moment, and nothing of other moments."
}

stage synth "Faces and voices with known labels, in the on-disk layouts of AffectNet, CelebA and Aff-Wild2." \
  "$mien" data synth --out "$raw" --kind affectnet,celeba,affwild2 --seed 1 --videos "$videos" --frames "$frames" --images "$images" --size 112
stage import "Every file is checked and packed into shards; what cannot be used is counted and listed." import_all
stage pretrain "SimMIM: a Swin learns faces by filling in masked cells; interrupted by a signal, then resumed." pretrain
stage finetune-expr "The pre-trained Swin learns expressions from labelled frames." train affwild2/demo "$(steps 1000 20)"
for t in au va; do
  stage finetune-$t "That Swin goes on to learn $(word $t)." train affwild2/demo_$t "$(steps 500 20)"
done
stage scratch "The same network for expressions without pre-training, to see what that was worth." \
  train affwild2/demo run=scratch-expr init.from= "$(steps 1000 20)"
stage grey "A linear model on 16 x 16 grey pixels: what can be had without a network." train affwild2/demo_grey "$(steps 1500 20)"
stage sound "A small wav2vec2 learns valence and arousal from one second of sound." train wav2vec2/demo "$(steps 300 10)"
stage features-image "Features of every frame from the three image networks." extract_image
stage features-sound "Features of every 20 ms of sound." extract wav2vec2/demo sound features/sound
for t in expr au va; do
  stage fusion-$t "Cascaded cross-attention over both streams: $(word $t)." train "$(fusion_of $t)" "$(steps 400 10)"
done
stage only-image "The same fusion network with the image at both inputs." train cca/demo run=only-image features.only=image "$(steps 400 10)"
stage only-sound "And with the sound at both." train cca/demo run=only-sound features.only=audio "$(steps 400 10)"
stage score "Every labelled frame of the validation people, once, with the challenge's metrics." score_all
stage predict "The test videos, in the format of a challenge submission." predict

bold "Result"
table | tee "$out/table.txt"
total=0
for f in "$home"/done/*; do total=$((total + $(cat "$f"))); done
cat <<EOF

Work done: $total s. Look at
  $runs/simmim/reconstructions.png      masked faces, reconstructions, originals
  $runs/*/metrics.jsonl                 every step and evaluation
  $out/submission-*/                    predictions as the challenge wants them
  $shards/affwild2/manifest.json        what was imported, and rejects.csv beside it: what was not, and why
EOF
