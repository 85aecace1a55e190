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
libturbojpeg0-dev libjpeg-dev libspng-dev libcairo2-dev libavformat-dev libavcodec-dev libavutil-dev libswresample-dev libswscale-dev libmatio-dev libyaml-dev
libjansson-dev libcsv-dev libkissfft-dev libzip-dev zlib1g-dev libxxhash-dev libisal-dev librandom123-dev
libcriterion-dev"
# Of the checks only; each check prints a skip where its tool is missing.
check_packages="clang libclang-rt-dev clang-format valgrind iproute2"

say() { printf 'bootstrap: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# libclang-rt-dev is called libclang-rt-NN-dev in some releases.
known() { for p in "$@"; do apt-cache show "$p" >/dev/null 2>&1 && printf '%s ' "$p"; done; }

missing() { for p in "$@"; do dpkg-query -W -f '${Status}\n' "$p" 2>/dev/null | grep -q 'ok installed' || printf '%s ' "$p"; done; }

has() { command -v "$1" >/dev/null; }
may_install() { has apt-get && { [ "$(id -u)" = 0 ] || has sudo; }; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
refresh() { as_root apt-get -q update >/dev/null || say "apt-get update failed: going on with the lists there are"; }
add() { as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" >/dev/null; }

# need PACKAGE...: whoever cannot install may have them in another way; whether all is there, cmake says.
need() {
  want=$*
  has apt-get && want=$(missing "$@")
  [ -n "$want" ] || return 0
  if may_install; then
    say "installing: $want"
    refresh
    add $want || die "could not install: $want"
    want=
  elif has apt-get; then
    say "neither root nor sudo; missing, as root: apt-get install $want"
  else
    say "this system has no apt-get; the equivalents of these packages are needed: "$want
  fi
}

# Best effort: a check whose tool is not there is skipped.
want_checks() {
  lack=$check_packages
  has apt-get && lack=$(missing $check_packages)
  if [ -n "$lack" ] && may_install; then
    say "installing for the checks: $lack"
    refresh
    add $(known $lack) || :
    lack=$(missing $check_packages)
  fi
  [ -z "$lack" ] || say "not there, checks that need it are skipped: $lack"
}

deps() {
  need $packages
  want_checks
  [ -z "$want" ] || die "not installed: "$want
}

build() {
  need $packages
  [ -f build/release/build.ninja ] || cmake --preset release >/dev/null ||
    die "cmake did not find all it needs${want:+; not installed: }"$want
  cmake --build --preset release
}

demo() {
  build
  exec sh recipes/demo.sh "$@"
}

check() {
  want_checks
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
