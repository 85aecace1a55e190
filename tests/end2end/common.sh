# Sourced by the end-to-end scripts, which are all called  SCRIPT.sh MIEN MPIRUN PROGRAMS [CASE ...]
# PROGRAMS is the folder of make_fixture and judge. Everything happens in a temporary folder that is removed at the end.
set -u
mien=$1 mpirun=$2 programs=$3
shift 3
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
unset MIEN_FAULT MIEN_DATA MIEN_NODE_SIZE MIEN_TERM_SECONDS
status=0

say() { printf '%s\n' "$*"; }
# Tells what went wrong, shows the output of the last job, goes on with the next check.
wrong() { say "FAILED: $*"; [ ! -f "$work/out" ] || tail -n 20 "$work/out"; status=1; }
done_with() { [ $status = 0 ] && say "passed"; exit $status; }

"$programs/make_fixture" "$work/data" || exit 1
judge() { "$programs/judge" "$@"; }
# Not merely "cannot tell": the comparison was made and does not hold.
differs() { judge "$@"; [ $? = 1 ]; }

# job RANKS RECIPE RUN [key=value or option ...]: trains; everything it says is in $work/out, its exit status is the answer.
# It computes on $device, where that is not set on the CPU.
# MIEN_FAULT passes on to every rank. Limits of time only end what hangs: a loaded machine is slow.
job() {
  ranks=$1 recipe=$2 run=$3
  shift 3
  set -- "$here/$recipe.yaml" "run=$run" "paths.data=$work/data" "paths.runs=$work/runs" "device=${device:-cpu}" "$@"
  if [ "$ranks" = 1 ]; then
    "$mien" train "$@" >"$work/out" 2>&1
  else
    "$mpirun" --oversubscribe --bind-to none --timeout 120 -n "$ranks" "$mien" train "$@" >"$work/out" 2>&1
  fi
}
# ends STATUS job ...: it must end with that status.
ends() {
  want=$1
  shift
  "$@"
  got=$?
  [ $got = "$want" ] && return
  wrong "'$*' ended with $got, expected $want"
  return 1
}
tells() { grep -qF -- "$1" "$work/out" || wrong "the output does not say '$1'"; }

run_folder() { printf '%s' "$work/runs/$1"; }
# How often a run was started.
attempts() { ls "$(run_folder "$1")" 2>/dev/null | grep -c '^attempt-'; }
metrics() { printf '%s' "$work/runs/$1/metrics.jsonl"; }
checkpoint() { printf '%s/runs/%s/ckpt/step-%08d' "$work" "$1" "$2"; }
model() { printf '%s/model.safetensors' "$(checkpoint "$1" "$2")"; }
# One line for the content, names and sizes of a folder.
digest() { (cd "$1" && find . -type f | LC_ALL=C sort | xargs -r sha256sum | sha256sum); }
