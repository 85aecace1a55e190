#!/bin/sh
# Runs a program on two ranks under valgrind: reads of memory that was never set, and leaks, fail.
#   valgrind.sh MPIRUN PROGRAM [ARGUMENT ...]       exit 77: skipped, with the reason
set -u
mpirun=$1
shift
command -v valgrind >/dev/null || { echo "SKIPPED: valgrind is not installed"; exit 77; }
theirs=$(ls /usr/share/openmpi/openmpi-valgrind.supp 2>/dev/null)
[ -n "$theirs" ] || { echo "SKIPPED: Open MPI's suppressions for valgrind are not installed"; exit 77; }
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
"$mpirun" --oversubscribe --bind-to none --timeout 200 -n 2 valgrind -q --leak-check=full \
    --errors-for-leak-kinds=definite --error-exitcode=9 --suppressions="$theirs" \
    --suppressions="$(dirname "$0")/valgrind-mpi.supp" "$@" >"$dir/out" 2>&1
code=$?
grep -v 'hwloc\|CPUID' "$dir/out"
exit $code
