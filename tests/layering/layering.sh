#!/bin/sh
# Proves the layers by name: who may include whom, where each third party may be included, and that a folder's public
# names have its prefix. The linker proves the same by symbol.
set -eu
cd "$(dirname "$0")/../.."
bad=0
fail() { echo "layering: $*"; bad=1; }

# folder, then the roots its files may include with quotes.
allowed() {
  find $1 -maxdepth "$2" -name '*.[ch]' -o -maxdepth "$2" -name '*.def' | while read -r f; do
    grep -HnoE '^#include "[^"]+"' "$f" | sed 's/#include "//; s/"$//' | grep -vE ":[0-9]+:($3)" || :
  done
}
check() {
  out=$(allowed "$1" "$2" "$3")
  [ -z "$out" ] || fail "$1 includes upward or sideways:
$out"
}
check nn/base 9 'nn/base/'
check nn 1 'nn/'
check nn/ops 9 'nn/'
check nn/models 9 'nn/'
check data 9 'nn/base/|data/'
check dist 9 'nn/|data/|dist/'

# third party header, then the files that may include it.
only() {
  out=$(grep -rlE "^#include <($1)" --include='*.[ch]' nn data dist recipes | grep -vE "^($2)" || :)
  [ -z "$out" ] || fail "<$1> outside $2: $out"
}
only 'mpi\.h' 'dist/comm'
only 'oneapi/dnnl' 'nn/onednn[_.]'
only 'hdf5\.h' 'data/(shard|features)'
only 'libav|libsw' 'data/media/'
only 'matio' 'data/media/faces_make\.c'
only 'zlib\.h' 'data/media/mat_stream'
only 'yaml\.h' 'nn/base/schema'
only 'turbojpeg\.h|jpeglib\.h' 'data/(image|region)'
only 'cairo' 'data/sheet\.c|dist/report'
only 'kiss_fft' 'data/spectrum\.c'
only 'spng\.h' 'data/image|data/png'
only 'dlfcn\.h' 'nn/(device|cuda_nccl)'

# Exported symbols carry the prefix of their layer.
prefix() {
  [ -f "build/release/lib$1.a" ] || { echo "SKIP prefix of $1: build/release is missing"; return; }
  out=$(nm -g --defined-only "build/release/lib$1.a" 2>/dev/null | awk 'NF == 3 && $2 ~ /[TDBRC]/ {print $3}' | grep -vE "^(_?)($2)" | sort -u || :)
  [ -z "$out" ] || fail "lib$1 exports names without its prefix: $(echo $out)"
}
prefix mn 'mn_'
# nn/onednn_pool.c stands in for the C++ allocator under oneDNN, so that a step allocates nothing.
prefix nn 'nn_|Znwm$|ZdlPvm?$'
prefix data 'data_'
prefix dist 'dist_'
[ "$bad" = 0 ] && echo "layering: ok"
exit "$bad"
