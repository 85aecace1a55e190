#!/bin/sh
# Everything that needs a GPU, on a host that may have no more than gcc, CMake and CUDA (and PyTorch, to be faster than):
#   tests/gpu.sh [option ...] [part ...]        all parts, in this order:
#     build       compiles into a folder of its own, with machine code for this host's GPU alone
#     tests       the tests with the label gpu: kernels over the CPU port, and on the GPU
#     demo        the demo of the README on the GPU, and what it must have learnt (tests/end2end/learns.sh)
#     sanitizer   compute-sanitizer, memcheck and racecheck, over small sizes
#     bench       mien bench step beside PyTorch, eager and compiled
#   --sysroot F   the libraries, as tests/gpu/sysroot.sh packs them, where the host has none; unpacked once
#   --work DIR    where everything goes (build/gpu)
#   --python P    the python3 that has PyTorch (python3)
#   --arch LIST   as CMake has them (those of this host's GPUs; 90-real: for Hopper)
#   --port        no GPU: the module over the CPU port instead, to try this script
# Each part ends by itself within 10 minutes (--limit SECONDS), can be run alone after `build`, and goes on with what an
# earlier start has done. Ends with a table, which is kept in DIR/table.md; exit status 1: a part failed; 77: all that was
# asked for was skipped.
set -u
source=$(cd "$(dirname "$0")/.." && pwd)
work=$source/build/gpu python=python3 arch=native sysroot='' limit=580 port='' parts=''
say() { printf 'gpu.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 64; }
value() { [ $# -ge 2 ] || die "$1 wants a value"; }
while [ $# -gt 0 ]; do
  case $1 in
    --sysroot) value "$@"; sysroot=$2; shift 2 ;;
    --work) value "$@"; work=$2; shift 2 ;;
    --python) value "$@"; python=$2; shift 2 ;;
    --arch) value "$@"; arch=$2; shift 2 ;;
    --limit) value "$@"; limit=$2; shift 2 ;;
    --port) port=1; shift ;;
    -h | --help) sed -n '2,/^set/p' "$0" | sed '$d; s/^# \{0,1\}//'; exit 0 ;;
    build | tests | demo | sanitizer | bench) parts="$parts $1"; shift ;;
    *) die "'$1': neither an option nor a part (build, tests, demo, sanitizer, bench); see --help" ;;
  esac
done
[ -n "$parts" ] || parts="build tests demo sanitizer bench"
mkdir -p "$work/log" || exit 64
work=$(cd "$work" && pwd)
build=$work/build mien=$work/build/mien
[ -z "$sysroot" ] || sysroot=$(cd "$(dirname "$sysroot")" && pwd)/$(basename "$sysroot")

export OMP_WAIT_POLICY=passive OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
if [ "$(id -u)" = 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
for folder in /usr/local/cuda/bin /opt/cuda/bin; do
  if ! command -v nvcc >/dev/null && [ -x "$folder/nvcc" ]; then PATH=$PATH:$folder; fi
done
export PATH

# --- the libraries ---

# xz may be missing; Python can do it too.
unpack() {
  [ -d "$work/sysroot" ] && return
  rm -rf "$work/unpacking" && mkdir "$work/unpacking" || return
  say "unpacking $sysroot"
  tar xf "$sysroot" -C "$work/unpacking" 2>/dev/null || "$python" -m tarfile -e "$sysroot" "$work/unpacking" || return
  mv "$work/unpacking/sysroot" "$work/sysroot"
}
if [ -n "$sysroot" ]; then unpack || die "cannot unpack $sysroot"; fi
if [ -d "$work/sysroot" ]; then
  SYSROOT=$work/sysroot
  LD_RUN_PATH=${LD_RUN_PATH:-} CMAKE_PREFIX_PATH=${CMAKE_PREFIX_PATH:-}
  . "$SYSROOT/env.sh"
fi
cores=$(nproc)

# --- the parts: status 0 good, 77 skipped, else failed; the last line that each says goes into the table ---

gpu_there() {
  [ -n "$port" ] && return
  nvidia-smi -L 2>/dev/null | grep -q '^GPU' && return
  echo "skipped: no GPU (nvidia-smi lists none)"
  return 77
}
built() {
  [ -x "$mien" ] && return
  echo "skipped: $mien is not there: run the part build first"
  return 77
}
# Of this host's GPUs, as CMake has them: "90-real".
architectures() {
  nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | grep -E '^[0-9]+\.[0-9]+$' | sort -u |
    sed 's/\.//; s/$/-real/' | paste -s -d ';' -
}
# What the tests of a real GPU open; the port's module stands in for it with --port.
module() { if [ -n "$port" ]; then echo "$build/tests/gpu/mien_cuda_port.so"; else echo "$build/mien_cuda.so"; fi; }

part_build() {
  set -- -S "$source" -B "$build" -DCMAKE_BUILD_TYPE=Release -DMIEN_WERROR=OFF
  [ ! -d "$work/sysroot" ] || set -- -C "$work/sysroot/cache.cmake" "$@"
  if command -v ninja >/dev/null; then set -- -G Ninja "$@"; fi
  if [ -n "$port" ]; then
    set -- "$@" -DMIEN_CUDA=OFF
  else
    [ "$arch" != native ] || arch=$(architectures)
    [ -n "$arch" ] || arch=90-real # there is no GPU to ask
    set -- "$@" "-DMIEN_CUDA_ARCHITECTURES=$arch"
    wheels=$("$python" -c 'import nvidia; print(list(nvidia.__path__)[0])' 2>/dev/null)
    [ -z "$wheels" ] || set -- "$@" "-DMIEN_NVIDIA_WHEELS=$wheels"
  fi
  cmake "$@" >"$work/log/cmake.txt" 2>&1 || { tail -n 20 "$work/log/cmake.txt"; echo "cmake failed"; return 1; }
  grep -E 'CUDA module|Criterion' "$work/log/cmake.txt"
  cmake --build "$build" -j "$cores" --target gpu_tests >"$work/log/make.txt" 2>&1 ||
    { grep -E -m 20 'error|undefined|FAILED' "$work/log/make.txt"; echo "the build failed: $work/log/make.txt"; return 1; }
  MIEN_CUDA_MODULE=$(module) "$mien" doctor >"$work/log/doctor.txt"
  grep -E ' (CUDA|NCCL|GPU|device|mien-media) ' "$work/log/doctor.txt"
  [ -f "$(module)" ] || { echo "no CUDA module was built: $(sed -n 's/.*CUDA module: //p' "$work/log/cmake.txt")"; return 1; }
  [ -z "$port" ] || arch="the CPU port"
  echo "built with $(cc --version | head -n 1); module for $arch"
}

# Recipes on the GPU, and on the CPU.
recipes() {
  good=0
  for case in "$@"; do
    # shellcheck disable=SC2086 # words
    env GPU_TEST="$([ -n "$port" ] && echo port || echo module)" timeout 150 sh "$source/tests/end2end/gpu.sh" "$mien" \
      mpirun "$build/tests/end2end" "$(module)" $case >"$work/log/case.txt" 2>&1
    result=$?
    cat "$work/log/case.txt" >>"$log"
    if [ $result = 0 ]; then
      echo "ok   $case: $(grep -E 'largest|relative|differ' "$work/log/case.txt" | tail -n 2 | tr '\n' ' ')"
      good=$((good + 1))
    else
      echo "FAIL $case: status $result: $(grep FAILED "$work/log/case.txt" | head -n 1)"
      code=1
    fi
  done
}
part_tests() {
  built || return
  log=$work/log/ctest.txt
  (cd "$build" && ctest -L gpu --output-on-failure -j 2) >"$log" 2>&1
  code=$?
  if [ -n "$port" ]; then
    (cd "$build" && GPU_TEST=module MIEN_CUDA_MODULE=$(module) tests/gpu/gpu.module.optim_test -j1) >>"$log" 2>&1 || code=1
  fi
  grep -E '\*\*\*|^ *[0-9]+ - |differs|off by' "$log" | head -n 40
  summary="$(grep -E 'tests passed' "$log"), $(grep -c '\*\*\*Skipped' "$log") skipped"
  if [ -n "$port" ]; then
    recipes "parity simmim"
  elif gpu_there; then
    recipes "parity simmim" "parity finetune:va" "parity sound" "parity cca:expr" "parity cca:va" "parity cca:au" resume
  else
    echo "what needs a GPU was skipped, the rest ran over the CPU port"
    good=0
  fi
  echo "$summary; $good recipes held against the CPU; all of it in $log"
  return "$code"
}

part_demo() {
  built && gpu_there || return
  if [ -n "$port" ]; then
    echo "skipped: minutes for a step over the port"
    return 77
  fi
  ranks=$(nvidia-smi -L | grep -c '^GPU')
  if [ "$ranks" -gt 2 ]; then ranks=2; fi
  if [ ! -x "$build/mien-media" ]; then
    echo "skipped: the demo imports sound, and this build has no mien-media (sysroot.sh without SYSROOT_MEDIA=0)"
    return 77
  fi
  log=$work/log/demo.txt
  export MIEN_RANKS="$ranks" MIEN_DEVICE=cuda MIEN_CUDA_MODULE
  MIEN_CUDA_MODULE=$(module)
  sh "$source/tests/end2end/learns.sh" "$mien" mpirun "$work" >"$log" 2>&1
  code=$?
  grep -E '^(\||\+|ok |FAIL )|^ *the demo' "$log"
  [ "$code" = 0 ] || tail -n 5 "$log"
  good=$(grep -c '^ok ' "$log") bad=$(grep -c '^FAIL ' "$log")
  echo "$good thresholds held, $bad did not, on $ranks GPU rank(s); all of it in $log"
  return "$code"
}

# Kernels of the libraries are not ours to check: what they do with asynchronous copies and barriers looks like races.
foreign="cublas|nvjet|cutlass|xmma|gemm|cudnn"
exclusion() {
  if compute-sanitizer --help 2>/dev/null | grep -q -e --kernel-name-exclude; then
    echo "--kernel-name-exclude regex=.*($foreign).*"
  else # as CUDA 12's was called, which knows parts of names
    echo "--kernel-regex-exclude kns=$(echo "$foreign" | sed 's/|/,kns=/g')"
  fi
}

# One small test under a tool, for a part of the time that is left. What the tool finds is an error of its own: status 9.
watched() { # TOOL SECONDS NAME COMMAND...
  tool=$1 seconds=$2 name=$1-$3; shift 3
  left=$((GPU_LIMIT - 15 - $(date +%s) + began))
  if [ "$left" -lt "$seconds" ]; then seconds=$left; fi
  if [ "$seconds" -lt 5 ]; then echo "slow $name: no time left for it"; return; fi
  options="--target-processes all --error-exitcode 9"
  [ "$tool" != racecheck ] || options="$options $(exclusion)"
  # shellcheck disable=SC2086 # words
  timeout "$seconds" compute-sanitizer --tool "$tool" $options "$@" >"$work/log/$name.txt" 2>&1
  code=$?
  result=$(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY' "$work/log/$name.txt" | tail -n 1 | sed 's/^=* *//')
  case $code in
    0) echo "ok   $name: $result"; good=$((good + 1)) ;;
    77) echo "skip $name" ;;
    124) echo "slow $name: not finished after $seconds s" ;;
    *) echo "FAIL $name: status $code: $result"; bad=$((bad + 1)) ;;
  esac
}
part_sanitizer() {
  built && gpu_there || return
  if ! command -v compute-sanitizer >/dev/null; then
    echo "skipped: there is no compute-sanitizer (part of the CUDA toolkit)"
    return 77
  fi
  good=0 bad=0
  # Without a place to keep choices no algorithms are timed, which would take minutes under a tool.
  export MIEN_CUDA_MODULE GPU_TEST=module OMP_NUM_THREADS=2 XDG_CACHE_HOME=/dev/null
  MIEN_CUDA_MODULE=$(module)
  began=$(date +%s)
  tests=$build/tests/gpu/gpu.module
  for tool in memcheck racecheck; do
    for type in fp32 bf16; do
      watched $tool 60 step-$type "$mien" bench step --device cuda --model tiny --batch 3 --rounds 1 --no-graph \
        --precision $type
    done
    for test in mma_test gemm_test conv_test; do
      [ ! -x "$tests.$test" ] || watched $tool 60 $test "$tests.$test"
    done
    [ ! -x "$tests.optim_test" ] || watched $tool 60 optim_test "$tests.optim_test" -j1
  done
  for tool in memcheck racecheck; do
    [ ! -x "$tests.ops_test" ] || watched $tool 240 ops_test "$tests.ops_test" -j4
  done
  echo "$good clean, $bad not; all of it in $work/log"
  [ "$bad" = 0 ] && [ "$good" -gt 0 ]
}

# What a GPU can do at most in bf16, as measured (8192 x 8192 products): to state a share of.
peak() {
  case $(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1) in
    *H100* | *H200*) echo 790 ;;
    *A100*) echo 280 ;;
    *) echo 0 ;;
  esac
}
part_bench() {
  built && gpu_there || return
  if ! command -v "$python" >/dev/null; then
    echo "skipped: there is no $python; by hand: $mien bench step --device cuda --model simmim_b --batch 128 --precision bf16"
    return 77
  fi
  log=$work/log/bench.txt
  export MIEN_CUDA_MODULE
  MIEN_CUDA_MODULE=$(module)
  set -- --mien "$mien" --peer-python "$python" --peak "$(peak)" --limit $((GPU_LIMIT - 15))
  if ! "$python" -c 'import torch' 2>/dev/null; then
    echo "$python has no PyTorch: mien alone"
    set -- "$@" --no-peers
  fi
  [ -z "$port" ] || set -- "$@" --models tiny:2 --steps 2 --rounds 1 --no-peers
  "$python" "$source/tests/bench/gpu.py" "$@" >"$work/bench.md" 2>"$log"
  code=$?
  cat "$work/bench.md" "$log"
  echo "$(grep -c '^| [a-z0-9_]* | [0-9]' "$work/bench.md") models timed"
  return "$code"
}

# --- running them ---

# A part runs in a process group of its own: what it started ends with it.
if [ "${GPU_PART:-}" ]; then
  part_"$GPU_PART"
  exit
fi
status=77
for part in $parts; do
  printf '\n== %s\n' "$part"
  start=$(date +%s)
  set -- --work "$work" --python "$python" --arch "$arch"
  [ -z "$port" ] || set -- "$@" --port
  {
    GPU_PART=$part GPU_LIMIT=$limit timeout -k 20 "$limit" sh "$0" "$@" 2>&1
    echo $? >"$work/code"
  } | tee "$work/log/$part.out"
  code=$(cat "$work/code")
  case $code in
    0) word=passed; [ $status = 1 ] || status=0 ;;
    77) word=skipped ;;
    124 | 137) word="not finished in $limit s"; status=1; echo "the same command goes on from here" >>"$work/log/$part.out" ;;
    *) word=FAILED; status=1 ;;
  esac
  echo "| $part | $word | $(($(date +%s) - start)) | $(tail -n 1 "$work/log/$part.out" | tr '|' '/') |" >"$work/$part.row"
done

{
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | head -n 1
  grep -E ' (processor|CUDA|NCCL) ' "$work/log/doctor.txt" 2>/dev/null
  "$python" -c 'import torch; print("PyTorch", torch.__version__)' 2>/dev/null
  date -u +%Y-%m-%d
  printf '\n| part | result | seconds | |\n|---|---|---|---|\n'
  for part in build tests demo sanitizer bench; do cat "$work/$part.row" 2>/dev/null; done
  if [ -s "$work/bench.md" ]; then echo; cat "$work/bench.md"; fi
} >"$work/table.md"
printf '\n'
cat "$work/table.md"
exit $status
