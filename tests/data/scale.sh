#!/bin/sh
# Many records through the whole data plane: made, imported, verified, and read for two epochs (scale.c). The tests run it
# with 100,000; by hand, from the root of the repository, in about half an hour and 12 GB:
#
#     tests/data/scale.sh build/release/mien build/release/tests/data.scale mpirun /scratch 3000000
set -eu
mien=$1 scale=$2 mpirun=$3 n=$5
top=$(mktemp -d "$4/scale-XXXXXX")
trap 'rm -rf "$top"' EXIT
trap 'exit 1' INT TERM
most=300 # MiB; sanitizers take memory of their own
if nm "$mien" 2>/dev/null | grep -q __asan_init; then most=3000; fi

say() { echo "scale: $*" >&2; }

mkdir "$top/faces"
say "making $n pictures"
"$scale" make "$n" "$top/faces"
say "what an import would do"
"$scale" limit $most "$mien" data import casia-webface --src "$top/faces" --out "$top/shards" --dry-run >"$top/plan"
say "importing, whole pictures"
"$scale" limit $most "$mien" data import casia-webface --src "$top/faces" --out "$top/shards" --json >"$top/report"
grep -q "\"records\": $n," "$top/report"
grep -q '"rejected": 0,' "$top/report"
if [ "$n" -le 200000 ]; then
  say "importing on 3 ranks, headers only: the same records"
  "$mpirun" --oversubscribe --bind-to none -n 3 "$mien" data import casia-webface --src "$top/faces" --out "$top/ranks" \
    --check header --jobs 2 >/dev/null
  for made in ranks shards; do # other options are recorded, so files differ: payload and index must not
    grep -oE '"(payload|index)_xxh3": "[0-9a-f]{32}"' "$top/$made/manifest.json" >"$top/$made.digests"
  done
  cmp "$top/ranks.digests" "$top/shards.digests"
  rm -rf "$top/ranks"
fi
if [ $most -eq 300 ]; then "$scale" rate "$top/faces" "$top/rates"; fi
rm -rf "$top/faces" "$top/rates"
say "verifying"
"$mien" data verify "$top/shards"
"$scale" read "$n" "$top/shards"
say "$n records: done"
