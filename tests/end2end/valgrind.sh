#!/bin/sh
# One step of training on 2 ranks under valgrind: no error, nothing lost that is ours.  valgrind.sh MIEN MPIRUN PROGRAMS
# What MPI, PMIx and the loader of shared objects lose is listed in tests/valgrind-mpi.supp.
command -v valgrind >/dev/null || { echo "SKIP valgrind: not installed"; exit 77; }
. "$(dirname "$0")/common.sh"
"$mpirun" --oversubscribe --bind-to none --timeout 900 -n 2 valgrind --quiet \
  --suppressions="$here/../valgrind-mpi.supp" --leak-check=full --show-leak-kinds=definite \
  --errors-for-leak-kinds=definite --error-exitcode=99 --log-file="$work/valgrind.%p" "$mien" train \
  "$here/finetune.yaml" "paths.data=$work/data" "paths.runs=$work/runs" device=cpu train.steps=1 eval.split= deadline.step=600 \
  >"$work/out" 2>&1
code=$?
[ $code = 0 ] || wrong "ended with $code"
[ "$(ls "$work"/valgrind.* | wc -l)" = 2 ] || wrong "not 2 ranks under valgrind"
for log in "$work"/valgrind.*; do
  # Lines of "--" only say which system calls this valgrind does not know.
  ! grep -q '^==' "$log" || { wrong "valgrind complains"; grep '^==' "$log" | head -n 60; }
done
[ -f "$(model finetune 1)" ] || wrong "no checkpoint"
done_with
