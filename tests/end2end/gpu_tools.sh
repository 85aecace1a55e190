#!/bin/sh
# What doctor says of GPUs and of what is missing, and bench on one, over the CPU port.
#   gpu_tools.sh MIEN MPIRUN PROGRAMS PORT.so
port=$4
. "$(dirname "$0")/common.sh"
export MIEN_CUDA_MODULE="$port" OMP_NUM_THREADS=1

# doctor's line for a check must hold a text.
doctor() { "$mien" doctor >"$work/out" 2>&1; }
line() { grep -E "^(ok|warn|fail) +$1 " "$work/out" | grep -qF -- "$2" || wrong "doctor does not say '$2' of $1"; }
doctor
line CUDA "cuDNN CPU port"
line GPU "0: CPU port at 0000:00:00.0, compute capability 9.0"
line device "auto: CPU port"
CUDA_PORT_DEVICES=2 doctor
line GPU "1: CPU port at 0000:01:00.0"
line GPU "reads the memory of GPU 0"
CUDA_PORT_DEVICES=0 doctor
line GPU "finds no GPU"
line device "auto: the processor"
CUDA_PORT_CODE=0 doctor
line device "auto: the processor: kernels do not run on CPU port, compute capability 9.0"
MIEN_CUDA_MODULE=$work/none.so doctor
line CUDA "this build has no CUDA module"
line device "auto: the processor"
: >"$work/empty.so"
MIEN_CUDA_MODULE=$work/empty.so doctor
line CUDA "cannot be loaded"
CUDA_PORT_DEVICES=1 "$mpirun" --oversubscribe --bind-to none -n 2 "$mien" doctor >"$work/out" 2>&1
[ $? = 69 ] || wrong "doctor of two ranks on one GPU did not end with 69"
line device "would share the GPU"
say "doctor: what is there and what is missing"

bench() { "$mien" bench step --model tiny --batch 2 --rounds 2 "$@" >"$work/out" 2>&1; }
member() { sed -n "s/.*\"$1\": *\"\{0,1\}\([^,\"}]*\).*/\1/p" "$work/out"; }
for options in "" "--no-graph" "--precision bf16"; do
  bench --device cuda --json $options || wrong "bench $options ended with $?"
  [ "$(member device)" = cuda ] || wrong "bench $options did not run on the GPU"
  # The port counts what is allocated: every byte of it was planned, before the first step.
  [ "$(member used_bytes)" = "$(member planned_bytes)" ] && [ "$(member held_bytes)" = "$(member planned_bytes)" ] ||
    wrong "bench $options: $(member planned_bytes) bytes were planned, $(member held_bytes) held, $(member used_bytes) taken"
  [ "$(sed 's/.*"memory": {//' "$work/out" | tr , '\n' | awk -F: '{n += $NF} END {printf "%.0f", n}')" = \
    "$(member held_bytes)" ] || wrong "bench $options: the memory's parts are not the whole"
done
[ "$(printf '2\n1\n' | "$mien" bench step --model tiny --batch 2 --device cuda --serve | wc -w)" = 4 ] || wrong "--serve"
CUDA_PORT_DEVICES=0 bench --device cuda
[ $? = 69 ] || wrong "bench without a GPU did not end with 69"
CUDA_PORT_DEVICES=0 bench --device auto || wrong "bench --device auto without a GPU"
tells "computing on the processor"
say "bench: on a GPU, planned and taken memory"
done_with
