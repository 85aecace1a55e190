#!/bin/sh
# A run that is stopped or killed goes on as if nothing had happened.
#   resume.sh MIEN MPIRUN PROGRAMS stops RANKS STEP...   stopped after STEP and resumed: the same bits as uninterrupted
#   resume.sh MIEN MPIRUN PROGRAMS worlds                2, then 4, then 1 ranks: the same samples, losses within 1e-5
#   resume.sh MIEN MPIRUN PROGRAMS courses               from none and from an older checkpoint: later ones do not come back
#   resume.sh MIEN MPIRUN PROGRAMS full                  the disk is full for a while: the run goes on and says what is missing
#   resume.sh MIEN MPIRUN PROGRAMS kills RANKS COUNT     COUNT times kill -9, every second one inside a save
#   resume.sh MIEN MPIRUN PROGRAMS evals RANKS           stopped before the first step and while scoring: the same bits
#   resume.sh MIEN MPIRUN PROGRAMS signals               USR2 to one rank, TERM, INT once and twice
. "$(dirname "$0")/common.sh"
# 12 steps an epoch, the warm-up ends with step 4, evaluations follow steps 7, 14 and 21.
steps=24
train() { n=$1 name=$2; shift 2; job "$n" finetune "$name" train.steps=$steps eval.every=7 checkpoint.every=5 "$@"; }

# Evaluations of a run without what differs between any two runs.
evaluations() { sed -n '/"event":"eval"/s/,"attempt".*//p' "$(metrics "$1")" | sort -u; }

same_bits() { # RUN WHOLE
  judge losses "$(metrics "$1")" "$(metrics "$2")" $steps 0 || wrong "$1: losses are not those of $2"
  cmp "$(model "$1" $steps)" "$(model "$2" $steps)" || wrong "$1: weights are not those of $2"
  [ "$(evaluations "$1")" = "$(evaluations "$2")" ] || wrong "$1: evaluations are not those of $2"
}

stops() {
  ranks=$1
  shift
  ends 0 train "$ranks" whole
  [ "$(evaluations whole | wc -l)" = 4 ] || wrong "not 4 evaluations"
  for step in "$@"; do
    say "$ranks ranks, stopped after step $step:"
    MIEN_FAULT=train.stop:$step@$((step % ranks))=fail
    export MIEN_FAULT
    ends 85 train "$ranks" "stop-$step"
    unset MIEN_FAULT
    tells "stopped by a signal at step $step"
    [ -d "$(checkpoint "stop-$step" "$step")" ] || wrong "no checkpoint of step $step"
    ends 0 train "$ranks" "stop-$step"
    tells "step $step, epoch"
    same_bits "stop-$step" whole
  done
}

evals() {
  ranks=$1
  ends 0 train "$ranks" whole
  export MIEN_FAULT
  for signal in usr term; do
    MIEN_FAULT=proceed:1@$((ranks - 1))=$signal
    ends 85 train "$ranks" cut
    [ ! -e "$(metrics cut)" ] || wrong "a step was made"
  done
  # After the second batch of the first evaluation; at the start of the last, which follows the last step.
  MIEN_FAULT=proceed:7@$((ranks - 1))=usr
  ends 85 train "$ranks" cut
  tells "stopped by a signal at step 7"
  [ -z "$(evaluations cut)" ] || wrong "an evaluation that was left has a score"
  MIEN_FAULT= # who goes on without evaluations has none to make up for: the saves after step 7 are those of 10, 15, 20, 24
  cp -a "$(run_folder cut)" "$(run_folder blind)"
  ends 0 train "$ranks" blind eval.every=0 eval.split=
  [ "$(sed -n '/"event":"stop"/,$p' "$(metrics blind)" | grep -c '"event":"checkpoint"')" = 4 ] || wrong "not 4 checkpoints"
  MIEN_FAULT=eval:4@0=usr
  ends 85 train "$ranks" cut
  tells "stopped by a signal at step $steps"
  [ "$(evaluations cut | wc -l)" = 3 ] || wrong "not 3 evaluations"
  unset MIEN_FAULT
  ends 0 train "$ranks" cut
  same_bits cut whole
  cmp "$(checkpoint cut $steps)/state.json" "$(checkpoint whole $steps)/state.json" || wrong "the last score was not saved"
  ends 0 train "$ranks" cut
  [ "$(grep -c '"event":"eval"' "$(metrics cut)")" = 4 ] || wrong "a step was scored twice"
  ls -A "$(run_folder cut)/ckpt" | grep '^\.tmp-' && wrong "a temporary folder is left"
}

worlds() {
  ends 0 train 1 whole
  MIEN_FAULT=train.stop:6@1=fail; export MIEN_FAULT
  ends 85 train 2 moved
  MIEN_FAULT=train.stop:8@3=fail
  ends 85 train 4 moved
  unset MIEN_FAULT
  tells "the checkpoint comes from 2 ranks, here are 4"
  ends 0 train 1 moved
  tells "the checkpoint comes from 4 ranks, here are 1"
  judge losses "$(metrics moved)" "$(metrics whole)" $steps 1e-5 || wrong "losses changed with the number of ranks"
  judge weights "$(model moved $steps)" "$(model whole $steps)" 1e-4 || wrong "weights changed with the number of ranks"
}

# stopped AT STEPS [ARGUMENT...]: goes on for so many steps, and then is stopped.
stopped() {
  at=$1
  MIEN_FAULT=train.stop:$2=fail; export MIEN_FAULT
  shift 2
  ends 85 train 1 course $set_keep "$@"
  unset MIEN_FAULT
  [ "$(cat "$(run_folder course)/ckpt/LATEST")" = "$(printf 'step-%08d' "$at")" ] || wrong "LATEST is not step $at"
  [ -d "$(checkpoint course "$at")" ] || wrong "no checkpoint of step $at"
}

courses() {
  set_keep="eval.every=0 eval.split= checkpoint.every=2 checkpoint.keep=3"
  stopped 12 12
  stopped 4 4 --resume never
  for step in 8 10 12; do
    [ -d "$(run_folder course)/ckpt/abandoned-000002/step-$(printf %08d $step)" ] || wrong "step $step is lost"
  done
  ends 0 train 1 course $set_keep
  tells "step 4, epoch"
  stopped 21 1 --resume "$(checkpoint course 20)"
  ends 0 train 1 course $set_keep
  tells "step 21, epoch"
  cmp "$(run_folder course)/ckpt/abandoned-000004/step-00000024/model.safetensors" "$(model course $steps)" ||
    wrong "another course to the same step ends with other weights"
}

event() { grep -c "^{\"event\":\"$1.*}\$" "$(metrics full)"; }

full() {
  MIEN_FAULT=run.append:3=full,run.append:4=full,run.append:6=full,ckpt.write:2=fail; export MIEN_FAULT
  ends 0 train 2 full eval.every=0 eval.split= train.steps=12
  unset MIEN_FAULT
  tells "a checkpoint was not written, training goes on"
  tells "2 lines were lost"
  [ "$(event 'fault","kind":"checkpoint","step":5,"status":74,')" = 1 ] || wrong "no fault event of the save that failed"
  [ "$(event 'checkpoint","step":5,')" = 0 ] || wrong "a save that failed counts as one"
  [ "$(event 'checkpoint","step":10,')" = 1 ] || wrong "no event of the save that did not fail"
  [ "$(event 'checkpoint","step":12,')" = 1 ] || wrong "no event of the last save"
  [ "$(event 'fault","kind":"lines_lost","lines":2,')" = 1 ] || wrong "lost lines are not counted"
  [ "$(event '')" = "$(wc -l <"$(metrics full)")" ] || wrong "metrics.jsonl has lines that are not whole"
}

# --- kill -9 ---

# The n-th of a list of numbers that look random, below $2.
noise() { awk -v n="$1" -v most="$2" 'BEGIN { srand(n); rand(); print int(rand() * most) }'; }

steps_done() { grep -c '"event":"step"' "$(metrics "$1")" 2>/dev/null; }
first_rank() { tail -n 1 "$(run_folder "$1")/$(ls "$(run_folder "$1")" | grep '^attempt-' | tail -n 1)" | cut -d' ' -f2; }

# Waits until a run has started once more than $2 times and done more than $3 steps in all.
wait_until() {
  for _ in $(seq 6000); do
    [ "$(attempts "$1")" -gt "$2" ] && [ "$(steps_done "$1")" -gt "$3" ] && return
    sleep 0.02
  done
  wrong "$1 does not get to work"
}

# Somewhere in the second or third save of this start.
in_a_save() {
  set -- "$1" ckpt.mkdir ckpt.create ckpt.write ckpt.fsync ckpt.dirsync ckpt.rename ckpt.parentsync ckpt.latest ckpt.prune
  point=$(noise "$1" 9)
  nth=$((2 + $1 % 2))
  eval "point=\${$((point + 2))}"
  case $point in
  ckpt.write) nth=$((100 + $(noise "$1" 300))) ;;
  ckpt.create | ckpt.fsync) nth=$((5 + $(noise "$1" 4))) ;;
  esac
  say "$point:$nth@0=kill"
}

kills() {
  ranks=$1 count=$2 killed=0 inside=0
  steps=$((5 * count + 10))
  set_steps="eval.every=0 eval.split= checkpoint.every=1 checkpoint.keep=2"
  ends 0 train "$ranks" whole $set_steps
  while [ $killed -lt "$count" ]; do
    killed=$((killed + 1))
    started=$(attempts killed) before=$(steps_done killed)
    if [ $((killed % 2)) = 0 ]; then
      MIEN_FAULT=$(in_a_save $killed); export MIEN_FAULT
      train "$ranks" killed $set_steps && wrong "nothing was killed by $MIEN_FAULT"
      ls -A "$(run_folder killed)/ckpt" | grep -q '^\.tmp-' && inside=$((inside + 1))
      unset MIEN_FAULT
    else
      MIEN_FAULT=step:5=stall; export MIEN_FAULT # however late the kill comes, the run has not ended
      train "$ranks" killed $set_steps &
      unset MIEN_FAULT
      wait_until killed "$started" "$((before + $(noise $killed 3)))"
      kill -9 "$(first_rank killed)"
      wait $! && wrong "it was killed and ended with 0"
    fi
    [ "$(attempts killed)" -gt "$started" ] || { wrong "start $killed did not get to work"; break; }
  done
  ends 0 train "$ranks" killed $set_steps
  say "$killed kills on $ranks ranks, $inside left a half-written folder behind, $(attempts killed) starts"
  same_bits killed whole
  ls -A "$(run_folder killed)/ckpt" | grep '^\.tmp-' && wrong "a half-written folder is left"
}

# --- signals ---

signals() {
  steps=100000
  train 2 usr2 &
  wait_until usr2 0 2
  parent=$(sed -n 's/^PPid:[^0-9]*//p' "/proc/$(first_rank usr2)/status")
  for child in $(cat "/proc/$parent/task/$parent/children"); do last=$child; done
  kill -USR2 "$last"
  wait $!
  [ $? = 85 ] || wrong "USR2 to one of 2 ranks does not end with 85"
  tells "stopped by a signal"

  for signal in TERM INT; do
    train 1 $signal &
    wait_until $signal 0 2
    kill -$signal "$(first_rank $signal)"
    wait $!
    [ $? = 85 ] || wrong "$signal does not end with 85"
    [ -s "$(run_folder $signal)/ckpt/LATEST" ] || wrong "$signal: no checkpoint"
  done

  MIEN_FAULT=step:4=stall; export MIEN_FAULT
  train 1 twice &
  wait_until twice 0 2
  # Once more until it has ended: two that come before the first is handled count as one.
  for _ in $(seq 600); do kill -INT "$(first_rank twice)" 2>/dev/null || break; sleep 0.1; done
  wait $!
  [ $? = 130 ] || wrong "INT twice does not stop at once"
  tells "stopped by a second interrupt"
  unset MIEN_FAULT
  [ ! -e "$(run_folder twice)/ckpt/LATEST" ] || wrong "INT twice saved"
}

"$@"
done_with
