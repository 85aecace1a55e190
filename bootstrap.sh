#!/bin/sh
# Everything from a bare Debian 12 or 13 to a trained system:
#   sh bootstrap.sh deps     install the packages (root or sudo)
#   sh bootstrap.sh build    and compile into build/release
#   sh bootstrap.sh demo     and run the whole main job on generated faces (demo --quick: a minute, no thresholds)
#   sh bootstrap.sh test     and run every check (test --long: also the long ones)
# Each step does the earlier ones first when they are missing; repeating one costs nothing.
set -eu
cd "$(dirname "$0")"

packages="build-essential cmake ninja-build pkg-config openmpi-bin libopenmpi-dev libdnnl-dev libhdf5-dev
libturbojpeg0-dev libjpeg-dev libspng-dev libavformat-dev libavcodec-dev libavutil-dev libswresample-dev libswscale-dev libyaml-dev
libjansson-dev libcsv-dev libzip-dev libxxhash-dev libisal-dev librandom123-dev
libcriterion-dev"
# Of the checks only; each check prints a skip where its tool is missing.
check_packages="clang libclang-rt-dev clang-format valgrind iproute2"

say() { printf 'bootstrap: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# libclang-rt-dev is called libclang-rt-NN-dev in some releases.
known() { for p in "$@"; do apt-cache show "$p" >/dev/null 2>&1 && printf '%s ' "$p"; done; }

missing() { for p in "$@"; do dpkg-query -W -f '${Status}\n' "$p" 2>/dev/null | grep -q 'ok installed' || printf '%s ' "$p"; done; }

deps() {
  command -v apt-get >/dev/null || die "this system has no apt-get; install these packages' equivalents, then: sh bootstrap.sh build
$packages"
  want=$(missing $packages $check_packages)
  [ -z "$want" ] && return
  root=
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || die "not root and no sudo; as root: apt-get install $want"
    root=sudo
  fi
  say "installing: $want"
  $root apt-get -q update >/dev/null
  need=$(missing $packages)
  extra=$(known $(missing $check_packages))
  $root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $need $extra >/dev/null
  left=$(missing $packages)
  [ -z "$left" ] || die "still missing: $left"
}

build() {
  deps
  [ -f build/release/build.ninja ] || cmake --preset release >/dev/null
  cmake --build --preset release
}

demo() {
  build
  exec sh recipes/demo.sh "$@"
}

check() {
  build
  exec sh tests/run.sh "$@"
}

step=${1:-help}
[ $# -gt 0 ] && shift
case $step in
  deps) deps ;;
  build) build ;;
  demo) demo "$@" ;;
  test) check "$@" ;;
  *) sed -n '2,7s/^# \{0,1\}//p' "$0"; [ "$step" = help ] || exit 64 ;;
esac
