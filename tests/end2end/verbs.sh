#!/bin/sh
# Verbs that share work over ranks, besides train. A signal to one rank stops all with 85, leaves nothing unfinished
# under a final name, and the same command then does the work. A rank that hangs takes the job down with 75.
#   verbs.sh MIEN MPIRUN PROGRAMS stops|hangs
. "$(dirname "$0")/common.sh"
many() { "$mpirun" --oversubscribe --bind-to none --timeout 600 -n 2 "$@" >"$work/out" 2>&1; }
# verb NAME ...: on 2 ranks, with the recipe and the weights of the run.
verb() {
  name=$1
  shift
  many "$mien" "$name" "$here/finetune.yaml" "paths.data=$work/data" "paths.runs=$work/runs" --weights run "$@"
}
no_file() { [ -z "$(find "$work" -path "$1")" ] || wrong "there is $1 after a stop"; }
MIEN_FAULT=
export MIEN_FAULT

stops() {
  MIEN_FAULT=proceed:3@1=usr
  ends 85 verb eval --json
  ! grep -q '"weights"' "$work/out" || wrong "eval was stopped and prints a score"
  MIEN_FAULT=proceed:2@1=term
  ends 85 verb predict --split validation --out "$work/table"
  no_file "$work/table/*"
  ends 85 verb extract --split validation --out "$work/vectors"
  no_file "$work/vectors/*.json"
  MIEN_FAULT=
  ends 0 verb eval --json
  tells '"expr_f1_per_class": ['
  ends 0 verb eval
  grep -q '^  Anger  *[01]\.[0-9]' "$work/out" || wrong "no table of scores"
  ends 0 verb predict --split validation --out "$work/table"
  ends 0 verb extract --split validation --out "$work/vectors"
  ends 0 "$mien" data verify "$work/vectors" >"$work/out" 2>&1

  MIEN_FAULT=proceed:3@1=term
  ends 85 many "$mien" bench allreduce --rounds 1
  MIEN_FAULT=
  "$mien" data synth --kind celeba --images 40 --size 32 --out "$work/synth" >"$work/out" 2>&1 || wrong "synth"
  import() { many "$mien" data import celeba --src "$work/synth/celeba" --out "$work/$1"; }
  # What was made, digests of pictures and labels among it, but not when.
  result() { grep -v '"manifest_xxh3"\|"created_utc"' "$work/$1/manifest.json"; }
  ends 0 import whole
  result whole | grep -q '"payload_xxh3"' || wrong "no digests to compare"
  MIEN_FAULT=proceed:5@1=usr
  ends 85 import parts
  no_file "$work/parts/manifest.json"
  MIEN_FAULT=
  ends 0 import parts
  [ "$(result whole)" = "$(result parts)" ] || wrong "an import that was stopped has another result"
}

hangs() {
  MIEN_FAULT=proceed:1@1=stall # while the data are opened
  ends 75 verb eval deadline.init=3
  tells "in init"
  ends 75 verb predict --split validation --out "$work/table" deadline.init=3
  no_file "$work/table/*"
  MIEN_FAULT=close.soon:0=fail,close:1@1=stall # when all is done: the other rank waits for the library's end
  # That leaves a rank in MPI_Finalize, after which Debian 12's launcher (libpmix 4.2.2) has told the status and then, when
  # it closes itself, may crash or hang.
  many() { timeout -s KILL 60 "$mpirun" --oversubscribe --bind-to none -n 2 "$@" >"$work/out" 2>&1; }
  verb eval
  code=$?
  [ $code = 75 ] || grep -q '^ *Exit code: *75$' "$work/out" || wrong "ended with $code, expected 75"
  MIEN_FAULT=
}

ends 0 job 1 finetune run train.steps=2
"$@"
done_with
