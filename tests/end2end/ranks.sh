#!/bin/sh
# Training does not depend on the number of ranks: on 1, 2, 3 and 4 ranks the same samples, losses within 1e-5, weights
# within 1e-4 after 20 steps that moved them by at least 1e-3. A trainer that averages the ranks' losses and gradients
# must miss both by far, or the test could not tell.
#   ranks.sh MIEN MPIRUN PROGRAMS TASK[:TARGET] RANKS...
. "$(dirname "$0")/common.sh"
steps=20
task=${1%:*} target=${1#*:}
shift
set_target=seed=11 # any key: an argument that says nothing new
[ "$task" = "$target" ] || set_target=target=$target
train() { n=$1 name=$2; shift 2; job "$n" "$task" "$name" "$set_target" train.steps=$steps "$@"; }

ends 0 job 1 "$task" start "$set_target" optim.lr=0 schedule.min_lr=0 train.steps=1 eval.split=
ends 0 train 1 one
say "$task $target, in $steps steps:"
judge moved "$(model one $steps)" "$(model start 1)" 1e-3 || wrong "the weights hardly moved"
for ranks in "$@"; do
  ends 0 train "$ranks" "on-$ranks" || continue
  say "$ranks ranks:"
  judge losses "$(metrics "on-$ranks")" "$(metrics one)" $steps 1e-5 || wrong "losses differ on $ranks ranks"
  judge weights "$(model "on-$ranks" $steps)" "$(model one $steps)" 1e-4 || wrong "weights differ on $ranks ranks"
done

# Three ranks have 4, 4 and 2 rows of a batch of 10: means of ranks are not the mean of the batch, whatever the loss.
export MIEN_FAULT=train.rank_means:0=fail
ends 0 train 3 means
unset MIEN_FAULT
say "means of ranks:"
differs losses "$(metrics means)" "$(metrics one)" $steps 1e-3 || wrong "means of ranks are not noticed in the losses"
differs weights "$(model means $steps)" "$(model one $steps)" 1e-4 || wrong "means of ranks are not noticed in the weights"
done_with
