#!/bin/sh
# The same recipes on GPUs: losses and weights of the CPU, repeats and resumes bit for bit, checkpoints that go both ways,
# ranks that agree, peers that fail. Over the CPU port of the tests (tests/gpu/port), or with MIEN_CUDA_MODULE unset and
# GPU_TEST=module on the GPUs of this host.
#   gpu.sh MIEN MPIRUN PROGRAMS PORT parity TASK[:TARGET] | resume | ranks | faults | devices
. "$(dirname "$0")/common.sh"
port=$1 case=$2
shift 2
steps=6 # a step takes most of a second over the port
if [ "${GPU_TEST:-port}" = module ]; then
  "$mien" doctor >"$work/doctor" 2>&1
  ! grep -q 'device .*auto: the processor' "$work/doctor" || { say "SKIP: no GPU here"; exit 77; }
else
  export MIEN_CUDA_MODULE="$port"
fi
[ -n "${MIEN_CUDA_MODULE:-}" ] || steps=20
on_gpu() { device=cuda job "$@"; }
same_model() { cmp -s "$(model "$1" "$2")" "$(model "$3" "$2")" || wrong "$1 and $3 differ at step $2"; }

# score DEVICE FILE: what the network trained on the CPU is worth, computed there.
score() {
  "$mien" eval "$here/$task.yaml" "$set_target" "paths.data=$work/data" "paths.runs=$work/runs" "device=$1" \
    --weights "$(checkpoint cpu $steps)" --json >"$2" 2>"$work/out"
}
# All numbers of two files within 1e-4.
close_enough() {
  numbers() { tr -c '0-9.eE+-' '\n' <"$1" | grep -E '^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$'; }
  numbers "$1" >"$work/a" && numbers "$2" >"$work/b" && [ -s "$work/a" ] &&
    paste "$work/a" "$work/b" | awk '{d = $1 - $2; if (d < 0) d = -d; if (NF != 2 || d > 1e-4 * (1 + ($1 < 0 ? -$1 : $1))) bad = 1} END {exit bad}'
}

parity() {
  task=${1%:*} target=${1#*:}
  set_target=seed=11
  [ "$task" = "$target" ] || set_target=target=$target
  ends 0 job 1 "$task" cpu "$set_target" train.steps=$steps
  ends 0 on_gpu 1 "$task" gpu "$set_target" train.steps=$steps
  say "$task $target, CPU and GPU:"
  judge losses "$(metrics gpu)" "$(metrics cpu)" $steps 1e-4 || wrong "losses differ"
  judge weights "$(model gpu $steps)" "$(model cpu $steps)" 1e-3 || wrong "weights differ"
  ends 0 on_gpu 1 "$task" again "$set_target" train.steps=$steps
  same_model gpu $steps again
  ends 0 score cpu "$work/cpu.json"
  ends 0 score cuda "$work/gpu.json"
  close_enough "$work/cpu.json" "$work/gpu.json" || wrong "the evaluation of one network differs"
}

# stopped STEPS job ...: told to stop after so many; the schedule is that of the whole run.
stopped() {
  n=$1
  shift
  MIEN_FAULT=train.stop:$n=fail ends 85 "$@" train.steps=9
}

resume() {
  ends 0 on_gpu 1 simmim whole train.steps=9
  stopped 3 on_gpu 1 simmim parts
  ends 0 on_gpu 1 simmim parts train.steps=9
  same_model whole 9 parts
  # CPU, GPU, CPU: the same samples, losses within rounding of a run that never moved.
  ends 0 job 1 simmim still train.steps=9
  stopped 3 job 1 simmim moving
  stopped 3 on_gpu 1 simmim moving
  tells "equal within rounding, not bit for bit"
  ends 0 job 1 simmim moving train.steps=9
  judge losses "$(metrics moving)" "$(metrics still)" 9 1e-4 || wrong "moving between devices changes the losses"
}

ranks() {
  export CUDA_PORT_DEVICES=4
  ends 0 on_gpu 1 simmim one train.steps=4
  for n in 2 3; do
    ends 0 on_gpu "$n" simmim "on-$n" train.steps=4
    judge losses "$(metrics "on-$n")" "$(metrics one)" 4 1e-5 || wrong "losses differ on $n ranks"
    judge weights "$(model "on-$n" 4)" "$(model one 4)" 1e-4 || wrong "weights differ on $n ranks"
  done
  ends 0 on_gpu 2 simmim again train.steps=4
  same_model on-2 4 again
  ends 0 on_gpu 2 finetune two "target=va" train.steps=4
  ends 0 job 1 finetune cpu "target=va" train.steps=4
  judge losses "$(metrics two)" "$(metrics cpu)" 4 1e-4 || wrong "losses with sums inside the graph differ"
}

# However a sum between GPUs fails, the job ends with 75 and says which rank; nobody hangs.
faults() {
  export CUDA_PORT_DEVICES=2
  CUDA_PORT_NCCL=late:4@1 ends 0 on_gpu 2 simmim late train.steps=3
  CUDA_PORT_NCCL=async:4@1 ends 75 on_gpu 2 simmim async train.steps=6
  tells "rank 1"
  CUDA_PORT_NCCL=count:4@1 ends 75 on_gpu 2 simmim count train.steps=6
  CUDA_PORT_NCCL=hang:4@1 ends 75 on_gpu 2 simmim hang train.steps=6 deadline.step=5
  MIEN_FAULT=nccl.sum:5@1=fail ends 75 on_gpu 2 simmim call train.steps=6
  MIEN_FAULT=step:3@1=kill on_gpu 2 simmim killed train.steps=6 && wrong "a job with a killed rank ended well"
  MIEN_FAULT=nccl.sum:5@1=fail CUDA_PORT_NCCL=abort@1 ends 75 on_gpu 2 simmim abort train.steps=6
}

# The batch that the last job says would fit.
fitting() { sed -n 's/.* about train.batch=\([0-9]*\) .*/\1/p' "$work/out" | grep .; }

devices() {
  export CUDA_PORT_DEVICES=1
  ends 69 on_gpu 2 simmim shared train.steps=1
  tells "would share the GPU"
  CUDA_PORT_DEVICES=0 ends 69 on_gpu 1 simmim none train.steps=1
  tells "device: cuda"
  CUDA_PORT_DEVICES=0 device=auto ends 0 job 1 simmim auto train.steps=1
  tells "computing on the processor"
  MIEN_CUDA_MODULE=$work/none.so ends 69 on_gpu 1 simmim module train.steps=1
  tells "no CUDA module"
  printf 'not a module' >"$work/bad.so"
  MIEN_CUDA_MODULE=$work/bad.so ends 69 on_gpu 1 simmim bad train.steps=1
  CUDA_PORT_MEMORY_MB=1 ends 70 on_gpu 1 simmim small train.steps=1
  tells "do not fit into the GPU"
  ! fits=$(fitting) || wrong "a batch of $fits would fit into 1 MiB"
  # The batch that it says would fit does; nothing was run with the one that does not.
  CUDA_PORT_MEMORY_MB=12 ends 70 on_gpu 1 simmim large train.steps=1 train.batch=120 eval.split=
  fits=$(fitting) && [ "$fits" -lt 120 ] || wrong "nothing is said to fit"
  tells "; with train.recompute=true about train.batch="
  [ ! -s "$(metrics large)" ] || wrong "a step was run"
  CUDA_PORT_MEMORY_MB=12 ends 0 on_gpu 1 simmim fits train.steps=1 "train.batch=$fits" eval.split=
  tells "of its 12 MiB planned"
  # And so does what it says of recomputation.
  CUDA_PORT_MEMORY_MB=12 ends 70 on_gpu 1 simmim kept train.steps=1 train.batch=16 eval.split=
  tells "; train.recompute=true needs"
  CUDA_PORT_MEMORY_MB=12 ends 0 on_gpu 1 simmim again train.steps=1 train.batch=16 eval.split= train.recompute=true
  CUDA_PORT_MEMORY_MB=12 ends 70 on_gpu 1 simmim much train.steps=1 train.batch=120 eval.split= train.recompute=true
  ! grep -q 'train.recompute=true needs\|with train.recompute' "$work/out" || wrong "what is on is offered"
  ends 0 on_gpu 1 simmim dry --dry-run
  tells "GPU memory"
}

$case "$@"
done_with
