#!/bin/sh
# Gradients as bf16 between ranks (dist.wire), between GPUs over the CPU port or between CPU ranks that take each other
# for hosts: the losses and weights of an fp32 wire within rounding, a resume that is the same bit for bit, what is not
# finite, sums that fail, ranks that differ.
#   wire.sh MIEN MPIRUN PROGRAMS PORT gpu|cpu
. "$(dirname "$0")/common.sh"
export MIEN_CUDA_MODULE="$1"
where=$2
case $where in
gpu) device=cuda && export CUDA_PORT_DEVICES=3 ;;
cpu) export MIEN_NODE_SIZE=1 ;;
esac
train() { n=$1 name=$2; shift 2; job "$n" simmim "$name" eval.split= "$@"; }
same_model() { cmp -s "$(model "$1" "$2")" "$(model "$3" "$2")" || wrong "$1 and $3 differ at step $2"; }

# Measured, GPUs and CPUs: losses within 2.4e-5, weights within 1.9e-5; an fp32 wire on other ranks: 1e-7.
steps=20
for n in 2 3; do
  for wire in fp32 bf16; do ends 0 train $n "$wire-$n" dist.wire=$wire train.steps=$steps; done
  say "$where, $n ranks, bf16 beside fp32:"
  judge losses "$(metrics bf16-$n)" "$(metrics fp32-$n)" $steps 1e-4 || wrong "losses differ on $n ranks"
  judge weights "$(model bf16-$n $steps)" "$(model fp32-$n $steps)" 1e-4 || wrong "weights differ on $n ranks"
  differs weights "$(model bf16-$n $steps)" "$(model fp32-$n $steps)" 1e-6 || wrong "nothing was rounded"
done
MIEN_FAULT=train.stop:7=fail ends 85 train 2 parts dist.wire=bf16 train.steps=$steps
ends 0 train 2 parts dist.wire=bf16 train.steps=$steps
same_model parts $steps bf16-2
cmp -s "$(checkpoint parts $steps)/optimizer.safetensors" "$(checkpoint bf16-2 $steps)/optimizer.safetensors" ||
  wrong "the optimiser of parts differs"
say "$where: a resume on a bf16 wire is the same bit for bit"

# Nothing goes over a wire: one rank, ranks of one host.
for wire in fp32 bf16; do ends 0 train 1 "one-$wire" dist.wire=$wire train.steps=2; done
same_model one-fp32 2 one-bf16
if [ "$where" = cpu ]; then
  unset MIEN_NODE_SIZE
  for wire in fp32 bf16; do ends 0 train 2 "host-$wire" dist.wire=$wire train.steps=2; done
  same_model host-fp32 2 host-bf16
  export MIEN_NODE_SIZE=1
fi

# A gradient of one rank that is not finite: the same step is left out on all.
for wire in fp32 bf16; do
  MIEN_FAULT=gradients:1@1=nan ends 0 train 2 "nan-$wire" dist.wire=$wire train.steps=2
  tells "the update is skipped"
  [ "$(grep -c '"kind":"not_finite","step":0' "$(metrics "nan-$wire")")" = 1 ] || wrong "nan-$wire: no event of it"
done
say "$where: a NaN of one rank is skipped by all"

# A resumed run may change the wire; ranks may not differ.
ends 0 train 2 nan-bf16 dist.wire=fp32 train.steps=3
both="$here/simmim.yaml run=apart paths.data=$work/data paths.runs=$work/runs device=${device:-cpu} train.steps=1"
# shellcheck disable=SC2086
ends 78 "$mpirun" --oversubscribe --bind-to none --timeout 120 -n 1 "$mien" train $both : \
  -n 1 "$mien" train $both dist.wire=bf16 >"$work/out" 2>&1
tells "the ranks differ in 'dist.wire'"

if [ "$where" = gpu ]; then
  CUDA_PORT_NCCL=async:4@1 ends 75 train 2 async dist.wire=bf16 train.steps=6
  tells "rank 1"
  CUDA_PORT_NCCL=count:4@1 ends 75 train 2 count dist.wire=bf16 train.steps=6
  CUDA_PORT_NCCL=hang:4@1 ends 75 train 2 hang dist.wire=bf16 train.steps=6 deadline.step=5
  MIEN_FAULT=nccl.sum:5@1=fail ends 75 train 2 call dist.wire=bf16 train.steps=6
else
  MIEN_FAULT=step:3@1=stall ends 75 train 2 stall dist.wire=bf16 train.steps=6 deadline.step=5
fi
say "$where: sums that fail end with 75"
done_with
