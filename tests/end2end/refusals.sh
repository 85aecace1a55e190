#!/bin/sh
# Wrong recipes, missing and damaged inputs, runs in use: the exit status, one line that says what and where, and nothing
# touched.  refusals.sh MIEN MPIRUN PROGRAMS usage|recipes|inputs|runs|dry|changed
. "$(dirname "$0")/common.sh"
train() { n=$1 name=$2; shift 2; job "$n" finetune "$name" train.steps=4 "$@"; }
# Nothing of a run may exist after a refusal.
no_run() { [ ! -e "$work/runs/$1" ] || wrong "a refused job left $(ls -R "$work/runs/$1" | tr '\n' ' ')"; }
# The message is one line of "mien VERB:" on standard error.
one_line() { [ "$(grep -c '^mien [a-z]*: ' "$work/out")" = 1 ] || wrong "not one line of error"; }

# bad SED-EDIT LINE:COLUMN TEXT...: finetune.yaml with one line changed is refused with 78 at that place.
bad() {
  edit=$1 where=$2
  shift 2
  sed "$edit" "$here/finetune.yaml" >"$work/recipe.yaml"
  cmp -s "$here/finetune.yaml" "$work/recipe.yaml" && wrong "'$edit' changes nothing"
  ends 78 "$mien" train "$work/recipe.yaml" run=bad "paths.data=$work/data" "paths.runs=$work/runs" >"$work/out" 2>&1
  tells "$work/recipe.yaml:$where: "
  for text in "$@"; do tells "$text"; done
  one_line
  no_run bad
}

# misuse TEXT ARGUMENT...: one line that has the text and a pointer to the help, 64.
misuse() {
  text=$1
  shift
  ends 64 "$mien" "$@" >"$work/out" 2>&1
  [ "$(wc -l <"$work/out")" = 1 ] || wrong "'mien $*' does not answer with one line"
  tells "$text"
  tells "--help"
}

usage() {
  misuse "no verb 'trian' (did you mean 'train'?)" trian
  misuse "no option '--versio' (did you mean '--version'?)" --versio
  misuse "the recipe is missing" train
  misuse "'b' is not key=value" train a.yaml b
  misuse "did you mean '--resume'" train a.yaml --resum3 auto
  misuse "--resume wants a value" train a.yaml --resume
  misuse "--dry-run takes no value" train a.yaml --dry-run=1
  misuse "no option '-q'" train a.yaml -q
  misuse "--weights is missing" eval a.yaml
  misuse "--format x" predict a.yaml --format x
  misuse "synth, import, verify, info or export" data
  misuse "no action 'foo'" data foo
  misuse "(did you mean 'affwild2'?): affectnet, " data import affwild
  misuse "--src is missing" data import affwild2 --out x
  misuse "--out is missing" data import affwild2 --src x
  misuse "--size wants a whole number from 8" data import celeba --size 7
  misuse "--max-rejects wants a number above 0" data import celeba --max-rejects 2
  misuse "--seed wants a whole number" data synth --seed 1x
  misuse "the folder is missing" data verify
  misuse "--jobs wants a whole number" data verify a --jobs 0
  misuse "are for --sheet" data info a --seed 3
  misuse "--split is train" data info a --sheet b.png --split dev
  misuse "--record is missing" data export a
  misuse "without --out" data export a --record 1 --json --out b
  misuse "no action 'foo'" weights foo
  misuse "--window wants" weights import a b --window 1
  misuse "no bench 'foo'" bench foo
  misuse "--model is simmim" bench checkpoint --model foo
  misuse "one argument too many: 'b.yaml'" bench loader a.yaml b.yaml
  misuse "--batch wants a whole number" bench step --batch 0
  misuse "one argument too many: 'x'" doctor x
}

recipes() {
  bad 's/^seed: 4/sede: 4/' 4:1 sede seed
  grep -n . "$here/finetune.yaml" | sed -n 's/^\([0-9]*\):optim:.*/\1/p' >"$work/line"
  optim=$(cat "$work/line")
  bad 's/lr: 3e-4/lrr: 3e-4/' "$optim:9" optim.lrr optim.lr
  bad 's/lr: 3e-4/lr: fast/' "$optim:13" optim.lr "a number" fast
  bad 's/lr: 3e-4/lr: -1/' "$optim:13" optim.lr "from 0 to 10"
  bad 's/lr: 3e-4/lr: [1, 2]/' "$optim:13" optim.lr
  bad 's/kind: cosine/kind: cosinus/' "$((optim + 1)):18" schedule.kind cosine
  bad 's/batch: 10/batch: 2.5/' "$((optim + 2)):27" train.batch integer
  bad 's/batch: 10/batch: 0/' "$((optim + 2)):27" train.batch
  bad 's/{set: faces, split: train}/{sett: faces}/' 7:6 sett set
  bad 's/target: expr/target: exprs/' 5:9 exprs expr
  bad 's/embed: 16/embed: 15/' 9:28 model.embed
  bad 's/kind: cosine/milestones: [1, 2, 3, 4, 5, 6, 7, 8, 9]/' "$((optim + 1)):24" schedule.milestones "at most 8"
  bad 's/train: {/train: {/;$s/$/\n  - {/' 16:3
  for override in lr=1 optim.lr=x optim.lrr=1 train.batch=99999999999 task=simmm; do
    ends 78 train 1 bad "$override"
    tells "${override%%=*}"
    one_line
    no_run bad
  done
  ends 78 train 2 bad optim.lrr=1
  tells "optim.lr"
  no_run bad
  bad 's/eval: {/eval: {split: val, /' "$((optim + 3)):15" eval.split validation
  ends 78 "$mien" eval "$here/finetune.yaml" eval.split= --weights none >"$work/out" 2>&1
  tells "eval.split=: "
  ends 66 "$mien" train "$work/none.yaml" >"$work/out" 2>&1
  tells none.yaml
  ends 64 "$mien" train >"$work/out" 2>&1
  ends 64 "$mien" train "$here/finetune.yaml" nonsense >"$work/out" 2>&1
}

inputs() {
  before=$(digest "$work/data")
  for ranks in 1 2; do
    ends 66 job $ranks missing missing
    tells nowhere
    no_run missing
    ends 66 train $ranks bad init.from=nothing.safetensors
    tells nothing.safetensors
    ends 66 job $ranks cca bad features.image=features/none
    tells features/none
  done
  ends 66 "$mien" eval "$here/finetune.yaml" "paths.data=$work/data" --weights "$work/none" >"$work/out" 2>&1
  tells "$work/none"
  ends 65 "$mien" weights info /etc/passwd >"$work/out" 2>&1
  tells "neither a safetensors nor a PyTorch file"

  # Damage in the pictures, in the index and in features, wherever it is: 65, never a batch of it.
  cp -a "$work/data" "$work/sound"
  shard=$(echo "$work/data/faces/"*-all-0*.h5)
  for bit in 5000000 77777777; do
    judge flip "$shard" $bit || wrong "could not damage"
    damaged=$(digest "$work/data")
    ends 65 "$mien" data verify "$work/data/faces" >"$work/out" 2>&1
    for ranks in 1 2; do
      rm -rf "$work/runs/bad"
      ends 65 train $ranks bad data.stride=1 train.steps=200
      tells "$(basename "$shard")"
    done
    [ "$damaged" = "$(digest "$work/data")" ] || wrong "a job changed its inputs"
    cp "$work/sound/faces/"*.h5 "$work/data/faces/"
  done
  for part in image audio; do
    judge flip "$(echo "$work/data/features/$part/"*.h5)" 400000 || wrong "could not damage"
    ends 65 job 2 cca bad
    tells "features/$part"
    cp "$work/sound/features/$part/"*.h5 "$work/data/features/$part/"
  done
  truncate -s -100 "$shard"
  ends 65 train 1 bad
  cp "$work/sound/faces/"*.h5 "$work/data/faces/"
  rm "$shard"
  ends 66 train 1 bad
  tells "$(basename "$shard")"
  cp "$work/sound/faces/"*.h5 "$work/data/faces/"
  ends 0 train 2 fine
  [ "$before" = "$(digest "$work/data")" ] || wrong "a job changed its inputs"
}

runs() {
  steps_done() { grep -c '"event":"step"' "$(metrics "$1")" 2>/dev/null; }
  train 1 busy train.steps=1000000 checkpoint.every=100000 &
  for _ in $(seq 6000); do [ "$(steps_done busy)" -gt 2 ] 2>/dev/null && break; sleep 0.02; done
  holder=$(cut -d' ' -f2 "$(run_folder busy)/attempt-000001")
  cp "$work/out" "$work/first"
  for ranks in 1 2; do
    ends 73 train $ranks busy
    tells "in use by process $holder"
  done
  [ "$(attempts busy)" = 1 ] || wrong "a refused job took an attempt"
  kill -USR2 "$holder"
  wait $!
  [ $? = 85 ] || wrong "the first job was disturbed by the second"
  : >"$work/file"
  ends 73 "$mien" train "$here/finetune.yaml" "paths.data=$work/data" "paths.runs=$work/file" >"$work/out" 2>&1
  tells "paths.runs: "
  tells "$work/file"
  look() {
    "$mien" bench loader "$here/finetune.yaml" "paths.data=$work/data" --rounds 1 --seconds 0.05 --json \
      --sheet "$work/batch.png" "$@" >"$work/out" 2>&1
  }
  ends 0 look
  tells '"share": {"read": '
  [ "$(head -c 4 "$work/batch.png" | tail -c 3)" = PNG ] || wrong "the batch was not drawn"
  ends 73 look
  tells "batch.png: is there already"
  few="--model tiny --rounds 2 --json"
  ends 0 "$mien" bench ops $few >"$work/out" 2>&1
  tells '{"op": "linear", "calls": '
  mkdir "$work/disk"
  ends 0 "$mien" bench checkpoint $few --write "$work/disk" >"$work/out" 2>&1
  tells '"stall_ms": '
  MIEN_FAULT=ckpt.rename:2=term ends 85 "$mien" bench checkpoint $few --write "$work/disk" >"$work/out" 2>&1
  tells "stopped by a signal"
  rmdir "$work/disk" || wrong "bench checkpoint left something"
  ends 73 "$mien" bench checkpoint $few --write "$work/file" >"$work/out" 2>&1
  for ranks in 1 2; do
    ends 64 train $ranks new --resume sometimes
    tells "--resume sometimes: neither auto, never nor a checkpoint folder"
    ends 66 train $ranks new --resume "$work/runs/busy"
    tells "neither auto, never nor a checkpoint folder"
    no_run new
  done
}

# What is counted for balanced classes, and over which datasets: every one, as often as it is shown.
weights_of() {
  ends 0 train 1 new --dry-run "data=[{set: faces, split: train}$1]"
  sed -n 's/.*weights of the expressions: //p' "$work/out"
}

# Other data under the same name, or another recipe on another host.
changed() {
  "$mien" data synth --kind celeba --images 60 --size 32 --out "$work/synth" >"$work/out" 2>&1 || wrong "synth"
  import() { "$mien" data import celeba --src "$work/synth/celeba" --out "$work/data/c" "$@" >"$work/out" 2>&1; }
  on_c() { job "$1" simmim c 'data=[{set: c, split: train}]' data.stride=1 eval.split= train.batch=4 train.steps="$2" ${3:-}; }
  ends 0 import
  ends 0 on_c 1 1
  tells "trained: $work/runs/c"
  ends 0 on_c 1 1
  tells "its 1 steps are done already"
  before=$(digest "$work/runs/c/ckpt")
  rm -r "$work/data/c"
  ends 0 import --limit 40
  for ranks in 1 2; do
    ends 78 on_c $ranks 2
    tells "step-00000001 was trained on other data"
    tells "(c train)"
  done
  ends 78 on_c 1 2 optim.lr=2e-4
  tells "$work/runs/c/recipe.resolved.yaml: a resumed run may not change optim.lr"
  [ "$before" = "$(digest "$work/runs/c/ckpt")" ] || wrong "a refused resume changed checkpoints"
  rm -r "$work/data/c"
  ends 0 import
  ends 0 on_c 2 2
  # A new course of the run that ended before it saved: the recipe there is its, the checkpoint is not.
  MIEN_FAULT=step:1=fail ends 70 on_c 1 3 "optim.lr=2e-4 --resume never"
  ends 78 on_c 1 3 optim.lr=2e-4
  tells "step-00000002 was saved with another recipe than the one of its run now"
  ends 0 on_c 1 3

  set -- "$mien" train "$here/finetune.yaml" "paths.data=$work/data" "paths.runs=$work/runs" run=hosts train.steps=4
  ends 78 "$mpirun" --oversubscribe --bind-to none --timeout 600 -n 1 "$@" : -n 1 "$@" eval.every=3 >"$work/out" 2>&1
  tells "differ in 'options'"
}

dry() {
  for ranks in 1 2; do
    ends 0 train $ranks new --dry-run
    tells "memory"; tells "disk"; tells "steps        4"; tells "time"
    no_run new
  done
  ends 74 "$mien" train "$here/finetune.yaml" "paths.data=$work/data" "paths.runs=$work/runs" --dry-run \
    2>"$work/out" >/dev/full
  tells "cannot write to stdout"
  ends 0 train 1 old checkpoint.every=1
  before=$(digest "$work/runs/old")
  ends 0 train 2 old --dry-run
  ends 0 job 2 cca cca --dry-run
  [ ! -e "$work/runs/cca" ] || wrong "a dry run left something"
  [ "$before" = "$(digest "$work/runs/old")" ] || wrong "a dry run changed the run's folder"

  # What is scored is called what it is; eval writes nothing.
  ends 0 job 1 simmim named train.steps=1 eval.split=train
  tells 'split: "train"' # of the resolved recipe
  grep -q '"event":"eval".*"split":"train"' "$(metrics named)" || wrong "an evaluation on train is called something else"
  [ -s "$work/runs/named/reconstructions.png" ] || wrong "no picture of reconstructions"
  before=$(digest "$work/runs")
  ends 0 "$mien" eval "$here/simmim.yaml" run=other "paths.data=$work/data" "paths.runs=$work/runs" \
    --weights "$(model named 1)" >"$work/out" 2>&1
  [ "$before" = "$(digest "$work/runs")" ] || wrong "eval changed a run's folder"

  other='{set: faces, split: validation'
  once=$(weights_of ", $other}") three=$(weights_of ", $other, weight: 3}")
  [ -n "$once" ] && [ "$once" != "$(weights_of "")" ] || wrong "the second dataset does not count in the weights of classes"
  [ "$three" != "$once" ] || wrong "the weight of a dataset does not count in the weights of classes"
  [ "$three" = "$(weights_of ", $other}, $other}, $other}")" ] || wrong "a dataset of weight 3 is not the same as three of it"
}

"$@"
done_with
