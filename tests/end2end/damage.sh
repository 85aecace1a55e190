#!/bin/sh
# Damaged and foreign checkpoints, as the program meets them.  damage.sh MIEN MPIRUN PROGRAMS FLIPS
. "$(dirname "$0")/common.sh"
flips=$1
train() { n=$1 name=$2; shift 2; job "$n" finetune "$name" eval.every=0 eval.split= checkpoint.every=4 "$@"; }
again() { rm -rf "$work/runs/run"; cp -a "$work/runs/sound" "$work/runs/run"; }

ends 0 train 1 whole train.steps=16
MIEN_FAULT=train.stop:12=fail; export MIEN_FAULT
ends 85 train 1 sound train.steps=16
unset MIEN_FAULT
# Each file of the newest of three checkpoints in turn: the run goes on from the one before, says which file was refused
# and why, and comes out the same.
files="model.safetensors optimizer.safetensors state.json manifest.json"
for i in $(seq "$flips"); do
  file=$(echo $files | cut -d' ' -f$((i % 4 + 1)))
  again
  judge flip "$(checkpoint run 12)/$file" $((i * 7919 + i * i * 104729)) || wrong "could not damage $file"
  ends 0 train 1 run train.steps=16
  tells "checkpoint refused"
  tells "step-00000012/$file"
  tells "step-00000008: step 8, epoch"
  cmp "$(model run 16)" "$(model whole 16)" || wrong "$file damaged: other weights"
done
say "$flips flipped bits in the newest checkpoint: found, and gone on from the one before"

again
: >"$(checkpoint run 12)/manifest.json"
rm "$(checkpoint run 8)/state.json"
ends 0 train 2 run train.steps=16
tells "step-00000004: step 4, epoch"

again
for step in 4 8 12; do judge flip "$(model run $step)" 99999 || wrong "could not damage"; done
before=$(digest "$work/runs/run/ckpt")
ends 74 train 1 run train.steps=16
tells "none of its 3 checkpoints verifies"
ends 74 train 2 run train.steps=16
ends 65 train 1 run train.steps=16 --resume "$(checkpoint run 8)"
tells "model.safetensors"
[ "$before" = "$(digest "$work/runs/run/ckpt")" ] || wrong "a refused resume changed checkpoints"
for weights in "$(checkpoint run 8)" "$(model run 8)"; do
  ends 65 "$mien" eval "$here/finetune.yaml" "paths.data=$work/data" --weights "$weights" >"$work/out" 2>&1
  ends 65 "$mien" weights info "$weights" >"$work/out" 2>&1
  ends 65 train 1 other train.steps=16 "init.from=$weights"
done

# Of another recipe: nothing is touched.
again
before=$(digest "$work/runs/run/ckpt")
for change in model.embed=32 'model.depths=[2,4]' target=va optim.lr=1e-3 train.batch=20 data.stride=4 seed=5 precision=bf16; do
  ends 78 train 1 run train.steps=16 "$change"
  tells "step-00000012"
  tells "may not change ${change%%=*} ("
  tells "here)"
done
ends 78 train 2 run train.steps=16 optim.clip=1
tells "may not change optim.clip (5 there, 1 here)"
[ "$before" = "$(digest "$work/runs/run/ckpt")" ] || wrong "a refused resume changed checkpoints"
[ "$(attempts run)" = 1 ] || wrong "a refused resume counts as an attempt"

# What a resumed run may change.
ends 0 train 1 run train.steps=14 checkpoint.every=1 checkpoint.keep=9 eval.batch=3 log.every=2 train.loader_threads=2
tells "step 12, epoch"
done_with
