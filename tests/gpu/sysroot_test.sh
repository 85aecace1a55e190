#!/bin/bash
# Proves a sysroot.tar.xz in clean userlands without any of its packages.
#   sysroot_test.sh SYSROOT.tar.xz PROJECT_DIR ROOT...   (each ROOT: a folder made by debootstrap --variant=minbase
#   --include=gcc,g++,make,cmake bookworm|trixie ROOT). CUDA is bound in read-only when /usr/local/cuda exists.
set -eu
T=$1 P=$2; shift 2
for R in "$@"; do
  rm -rf "$R/tmp/w"; mkdir -p "$R/tmp/w" "$R/usr/local/cuda"; tar xJf "$T" -C "$R/tmp/w"; cp -r "$P" "$R/tmp/w/proj"
  for m in proc sys dev dev/shm; do mountpoint -q "$R/$m" || mount --bind "/$m" "$R/$m"; done
  [ ! -d /usr/local/cuda ] || mountpoint -q "$R/usr/local/cuda" || mount --bind -o ro "$(realpath /usr/local/cuda)" "$R/usr/local/cuda"
  cat > "$R/tmp/w/go.sh" <<'G'
set -e; cd /tmp/w; . ./sysroot/env.sh
cmake -C ./sysroot/cache.cmake -S proj -B b >cfg.log 2>&1 || { tail -20 cfg.log; exit 1; }
cmake --build b -j2 >bld.log 2>&1 || { grep -E 'error|undefined' bld.log | head; exit 1; }
ctest --test-dir b --output-on-failure
G
  echo "== $R"; chroot "$R" env -i HOME=/tmp PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/cuda/bin bash /tmp/w/go.sh
  for m in usr/local/cuda dev/shm dev sys proc; do ! mountpoint -q "$R/$m" || umount "$R/$m"; done
done
