#!/bin/sh
# Features without a network (task sound): the same on any number of ranks, gone on with after a stop, not mixed with
# those of another definition, and nothing to train.
#   fronts.sh MIEN MPIRUN PROGRAMS
. "$(dirname "$0")/common.sh"
front() { # RANKS NAME [key=value ...]
  ranks=$1 out=$2
  shift 2
  "$mpirun" --oversubscribe --bind-to none --timeout 120 -n "$ranks" "$mien" extract \
    "$here/../../recipes/sound/vggish.yaml" "paths.data=$work/data" "data=[{set: faces}]" --out "$work/$out" "$@" \
    >"$work/out" 2>&1
}
# The digest of each video's vectors.
result() { sed -n '/"videos": {/,/}/p' "$work/$1/manifest.json"; }

ends 0 front 1 one
[ -n "$(result one)" ] || wrong "no digests to compare"
ends 0 front 2 two
[ "$(result one)" = "$(result two)" ] || wrong "two ranks write other features"
ends 0 "$mien" data verify "$work/two"
MIEN_FAULT=proceed:2@0=term
export MIEN_FAULT
ends 85 front 2 parts
[ ! -e "$work/parts/manifest.json" ] || wrong "a manifest after a stop"
MIEN_FAULT=
ends 0 front 1 parts
[ "$(result one)" = "$(result parts)" ] || wrong "an extraction that was stopped has another result"

ends 73 front 1 one sound.bands=32
tells "holds features of"
ends 78 front 1 bad sound.high=125
tells "sound.front"
ends 64 front 1 bad --weights run
ends 0 front 2 half features.store=fp16
ends 0 "$mien" data verify "$work/half"
grep -q '"dtype": "f16"' "$work/half/manifest.json" || wrong "the manifest does not say f16"
ends 73 front 1 half features.store=bf16
tells "as f16"
ends 0 front 1 mfcc sound.front=mfcc sound.window_ms=25 sound.hop_ms=40
ends 0 front 1 patches sound.patch=96 sound.patch_hop_ms=40
ends 78 "$mien" train "$here/../../recipes/sound/mfcc.yaml" "paths.data=$work/data" "data=[{set: faces}]" \
  "paths.runs=$work/runs" >"$work/out" 2>&1
tells "no network"
done_with
