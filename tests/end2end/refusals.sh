#!/bin/sh
# Wrong recipes, missing and damaged inputs, runs in use: the exit status, one line that says what and where, and nothing
# touched.  refusals.sh MIEN MPIRUN PROGRAMS recipes|inputs|runs|dry
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
  for _ in $(seq 1200); do [ "$(steps_done busy)" -gt 2 ] 2>/dev/null && break; sleep 0.02; done
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
  tells "$work/file"
}

dry() {
  for ranks in 1 2; do
    ends 0 train $ranks new --dry-run
    tells "memory"; tells "disk"; tells "steps        4"; tells "time"
    no_run new
  done
  ends 0 train 1 old checkpoint.every=1
  before=$(digest "$work/runs/old")
  ends 0 train 2 old --dry-run
  ends 0 job 2 cca cca --dry-run
  [ ! -e "$work/runs/cca" ] || wrong "a dry run left something"
  [ "$before" = "$(digest "$work/runs/old")" ] || wrong "a dry run changed the run's folder"
}

"$@"
done_with
