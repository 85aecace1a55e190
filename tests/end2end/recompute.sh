#!/bin/sh
# train.recompute changes memory and time, no bit of the results: losses and weights of runs with and without it, on 1 and
# 2 ranks, in fp32 and bf16, and of a run that is stopped and goes on with the other setting.
#   recompute.sh MIEN MPIRUN PROGRAMS TASK[:TARGET] [PORT]   PORT: on GPUs, over that module
. "$(dirname "$0")/common.sh"
steps=6 precisions="fp32 bf16"
task=${1%:*} target=${1#*:}
set_target=seed=11
[ "$task" = "$target" ] || set_target=target=$target
if [ $# -gt 1 ]; then
  export MIEN_CUDA_MODULE="$2" CUDA_PORT_DEVICES=2
  device=cuda steps=4 precisions=bf16 # a step takes most of a second over the port
fi
train() { n=$1 name=$2; shift 2; job "$n" "$task" "$name" "$set_target" train.steps=$steps "precision=$precision" "$@"; }
# MiB of the plan that the last job tells.
planned() { sed -n 's/.* plan \([0-9]*\) MiB.*/\1/p' "$work/out" | grep .; }

same_bits() { # RUN WHOLE
  judge losses "$(metrics "$1")" "$(metrics "$2")" $steps 0 || wrong "$1: losses are not those of $2"
  cmp "$(model "$1" $steps)" "$(model "$2" $steps)" || wrong "$1: weights are not those of $2"
}

# stopped after step 2 with one setting, finished with the other
change() { # RANKS RUN BEFORE AFTER
  MIEN_FAULT=train.stop:2=fail; export MIEN_FAULT
  ends 85 train "$1" "$2" "train.recompute=$3"
  unset MIEN_FAULT
  ends 0 train "$1" "$2" "train.recompute=$4"
  tells "resuming from"
}

for precision in $precisions; do
  for ranks in 1 2; do
    say "$task $target, $precision, $ranks ranks:"
    pair=$precision-$ranks
    ends 0 train $ranks "$pair-kept"
    most=$(planned)
    ends 0 train $ranks "$pair-again" train.recompute=true
    less=$(planned) && [ "$less" -le "$most" ] || wrong "a plan of $less MiB, not below $most"
    same_bits "$pair-again" "$pair-kept"
  done
  change 1 "$precision-on" false true
  same_bits "$precision-on" "$precision-1-kept"
  change 2 "$precision-off" true false
  same_bits "$precision-off" "$precision-2-kept"
done

[ "${device:-cpu}" = cpu ] || done_with
ends 0 train 1 large train.batch=50 --dry-run
most=$(planned)
ends 0 train 1 large train.batch=50 --dry-run train.recompute=true
less=$(planned) && [ "$less" -lt "$most" ] || wrong "a plan of $less MiB with it, $most without"
done_with
