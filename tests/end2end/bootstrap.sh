#!/bin/sh
# bootstrap.sh installs what a step needs and nothing else, and builds for those who may install nothing. Here dpkg-query,
# apt-get and cmake only write down that they were called.
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
status=0
mkdir "$work/bin"
cp "$here/bootstrap.sh" "$work/"

fake() { printf '#!/bin/sh\n%s\n' "$2" >"$work/bin/$1"; chmod +x "$work/bin/$1"; }
fake dpkg-query 'for p in "$@"; do :; done; case " $LACK " in *" $p "*) exit 1 ;; esac; echo "install ok installed"'
fake apt-get 'echo "apt-get $*" >>"$CALLS"; exit $APT'
fake apt-cache 'exit 0'
fake cmake 'echo "cmake $*" >>"$CALLS"; exit $CMAKE'
fake id 'echo $USER_ID'
for tool in sh env dirname grep sed; do ln -s "$(command -v $tool)" "$work/bin/$tool"; done

# runs WHO "MISSING PACKAGES" STATUS OF APT-GET, OF CMAKE, STEP: its exit status is the answer.
runs() {
  : >"$work/calls"
  env -i PATH="$work/bin" CALLS="$work/calls" USER_ID="$1" LACK="$2" APT="$3" CMAKE="$4" sh "$work/bootstrap.sh" "$5" >"$work/out" 2>&1
}
wrong() { echo "FAILED: $*"; cat "$work/out" "$work/calls"; status=1; }
called() { grep -q "$1" "$work/calls"; }

runs 0 "" 0 0 build || wrong "nothing is missing"
called apt-get && wrong "apt-get is called for nothing"
runs 1000 "clang valgrind" 0 0 build || wrong "a user who lacks tools of the checks cannot build"
called apt-get && wrong "apt-get is called by a user"
runs 0 "clang valgrind" 0 0 build || wrong "root who lacks tools of the checks cannot build"
called apt-get && wrong "apt-get is called for tools of the checks by a build"
runs 0 "libyaml-dev clang" 0 0 build || wrong "a library is missing"
called "install.*libyaml-dev" || wrong "a library is not installed"
called "install.*clang" && wrong "a tool of the checks is installed by a build"
runs 0 "libyaml-dev" 1 0 build && wrong "installing fails, and nobody notices"
runs 1000 "libyaml-dev" 0 0 build || wrong "a user whose library is no package cannot build"
runs 1000 "libyaml-dev" 0 1 build && wrong "cmake fails, and nobody notices"
grep -q "not installed: libyaml-dev" "$work/out" || wrong "the missing package is not named"
runs 0 "clang" 0 0 deps || wrong "deps"
called "install.*clang" || wrong "deps does not install tools of the checks"
runs 0 "clang" 1 0 deps || wrong "deps insists on tools of the checks"
runs 1000 "libyaml-dev" 0 0 deps && wrong "deps is content without a library"
[ $status = 0 ] && echo "bootstrap: ok"
exit $status
