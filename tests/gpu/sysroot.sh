#!/bin/bash
# Makes a relocatable folder with the Debian 12 libraries that the project builds and runs with, for a host
# that has gcc, CMake and CUDA but no package manager.
#   sysroot.sh OUTDIR [extra packages...]      -> OUTDIR/sysroot/ and OUTDIR/sysroot.tar.xz
# On that host:  tests/gpu.sh --sysroot sysroot.tar.xz
# by hand:       tar xf sysroot.tar.xz; . sysroot/env.sh; cmake -C sysroot/cache.cmake ...; ctest; mpirun ...
# SYSROOT_MEDIA=0 leaves FFmpeg and libmatio out (half the size): a build without mien-media, which cannot import sound.
# Needs: apt (lists up to date), dpkg, patchelf, xz. Nothing is installed on the machine that runs this.
set -euo pipefail
OUT=$1; shift

WANT="libopenmpi-dev openmpi-bin libdnnl-dev libhdf5-dev libturbojpeg0-dev libjpeg62-turbo-dev libspng-dev
  libyaml-dev libjansson-dev libcsv-dev libzip-dev libxxhash-dev libisal-dev librandom123-dev
  libkissfft-dev libcairo2-dev libcriterion-dev
  zlib1g-dev pkgconf $*"
[ "${SYSROOT_MEDIA:-1}" = 0 ] || WANT="$WANT libmatio-dev libavformat-dev libavcodec-dev libavutil-dev libswresample-dev libswscale-dev"

# Packages left out (regular expressions for whole names).
drop=(
  # what every glibc userland with gcc has: older copies must not shadow it
  'libc6' 'libc6-dev' 'libc-.*' 'linux-libc-dev' 'libcrypt1' 'libcrypt-dev' 'libgcc-.*' 'gcc.*' 'cpp.*' 'g\+\+.*'
  'binutils.*' 'libbinutils' 'libctf.*' 'libgprofng.*' 'libisl.*' 'libmpc3' 'libmpfr.*' 'libstdc.*' 'libgomp.*'
  'lib[atl]san.*' 'libubsan.*' 'libatomic.*' 'libitm.*' 'libquadmath.*' 'libcc1.*' 'libgfortran.*' 'gfortran.*'
  'bash' 'coreutils' 'diffutils' 'sed' 'grep' 'tar' 'dpkg.*' 'debconf.*' 'debianutils' 'adduser' 'passwd' 'login'
  'util-linux.*' 'base-.*' 'usr.*' 'init-system.*' 'sysvinit.*' 'lsb.*' 'procps' 'netbase' 'tzdata' 'sensible-utils'
  'ucf' 'libpam.*' 'libselinux1' 'libsemanage.*' 'libsepol2' 'libaudit.*' 'libcap-ng.*' 'libblkid1' 'libmount1'
  'libuuid1' 'libsystemd.*' 'systemd.*' 'libtinfo.*' 'libncurses.*' 'readline.*' 'libreadline.*' 'libbz2-1.0'
  'liblzma5' 'libacl1' 'libdb5.*' 'libgdbm.*' 'libproc.*' 'libdebian.*' 'cdebconf.*'
  # interpreters, editors of text, tools of other builds
  'perl.*' 'libperl.*' 'python3.*' 'libpython3.*' 'default-jre.*' 'java.*' 'openjdk.*' 'openssl' 'openssh.*'
  'autotools.*' 'automake.*' 'autoconf' 'm4' 'libtool' 'file' 'libmagic.*' 'install-info' 'rpcsvc.*' 'libjs-.*'
  'media-types' 'mailcap' 'mime.*' 'shared-mime-info' 'fonts-.*' 'fontconfig' 'fontconfig-config' 'openmpi-doc'
  'libgdk-pixbuf2.0-common' 'libglib2.0-(bin|data|dev-bin)' 'libtorch.*' 'libsqlite.*' 'libpcre.*(16|32|posix|cpp).*'
  # interconnects, GPU monitoring and others that Open MPI's removed plugins would use
  'libhwloc-plugins' 'libibverbs1' 'ibverbs.*' 'librdmacm1' 'libfabric.*' 'libpsm.*' 'libucx.*' 'libnl-.*' 'libze.*'
  'libigdgmm.*' 'libxnvctrl.*' 'libmunge-dev' 'libtirpc.*' 'libnsl.*' 'libevent-(extra|openssl).*' 'libcbor.*'
  'libfido.*' 'libedit.*' 'libwrap.*' 'libpmix-dev'
  # other language bindings of HDF5
  'libhdf5-(fortran|hl-fortran|cpp|hl-cpp).*'
  # headers that only the libraries' own builds need
  'lib(ssl|ssh|ssh2-1|curl4-openssl|git2|mbedtls|http-parser|pcre.*|event|hwloc|numa|nl.*|ibverbs|rdmacm|ltdl)-dev'
  'lib(ffi|nanomsg|boxfort|aec|jpeg|selinux1|sepol|blkid|mount|bz2|brotli|expat1|glib2.0|pixman-1|png)-dev'
  'lib(freetype|fontconfig|x11.*|xcb.*|xau|xdmcp|xext|xrender|xfixes|xnvctrl|sm|ice|pthread-stubs0)-dev' 'x11.*' 'xorg-.*' 'xtrans-dev' 'uuid-dev'
  'ocl-icd-opencl-dev' 'opencl-.*'
)
DROP="^($(IFS='|'; echo "${drop[*]}"))\$"
L=usr/lib/x86_64-linux-gnu

mkdir -p "$OUT/debs"; OUT=$(cd "$OUT" && pwd); SR=$OUT/sysroot; rm -rf "$SR" "$OUT"/debs/*; mkdir -p "$SR"

# --- packages: the solver's answer for an empty machine (what is installed here does not matter), less DROP
: > "$OUT/empty.status"
# shellcheck disable=SC2086  # a list of words
LIST=$(apt-get -s -o Dir::State::status="$OUT/empty.status" -o Debug::NoLocking=1 --no-install-recommends install $WANT \
  | awk '$1=="Inst"{print $2}' | sed 's/:.*//' | sort -u | grep -vE "$DROP")
# shellcheck disable=SC2086
( cd "$OUT/debs"; apt-get download $LIST 2>&1 | grep -E "^E:" || true )
for p in $LIST; do for d in "$OUT"/debs/"${p}"_*.deb; do [ -e "$d" ] && dpkg -x "$d" "$SR"; done; done
cd "$SR"

# --- remove what nobody here uses
# usrmerge: some packages still ship /lib
if [ -d lib ] && [ ! -L lib ]; then cp -a lib/. usr/lib/; rm -rf lib; fi; ln -sfn usr/lib lib
rm -rf usr/share/{doc,doc-base,man,info,locale,lintian,bug,perl5,java,vala,gtk-doc,aclocal,bash-completion,X11,icons,mime,glib-2.0,gir-1.0,fonts,thumbnailers} \
  usr/lib/{jvm,python3} etc/{init.d,default,ldap,apt,X11} var run sbin usr/sbin \
  $L/{fortran,gtk-2.0,perl*,sasl2,engines-3,krb5,gconv,gdk-pixbuf-2.0,gio,ossl-modules,libfabric} \
  $L/{mfx,libmfxhw64.*,libicui18n.*,libicuio.*,libicutu.*,libicutest.*} \
  $L/openmpi/lib/openmpi3/mca_*{ucx,ofi,psm,psm2,openib,usnic,verbs,sge,gridengine,flux,netlink}*.so \
  $L/openmpi/lib/openmpi3/mca_{atomic,memheap,scoll,spml,sshmem}_*.so \
  usr/bin/{oshmem_info,oshrun,shmemrun,curl,gdk-pixbuf-*} \
  $L/*{java,oshmem,mpifh,usempi,ompitrace,common_ucx,common_ofi,common_verbs}* \
  $L/openmpi/lib/*{java,oshmem,mpifh,usempi,ompitrace,common_ucx,common_ofi,common_verbs}* \
  $L/openmpi/include/*java* $L/libhdf5_serial*fortran* $L/hdf5/serial/*{fortran,cpp}* $L/libprotobuf-lite.* 2>/dev/null || true
find . -name '*.a' ! -name libcriterion.a -delete; find . -name '*.la' -delete; find . -name '*.mod' -delete

# --- links: absolute ones made relative, dead ones away, and what the alternatives system would have made
find . -type l | while read -r l; do
  t=$(readlink "$l"); case $t in /*) ln -sfn "$(realpath -m --relative-to="$(dirname "$l")" ".$t")" "$l";; esac
done
find . -xtype l -delete
for t in mpirun mpiexec; do ln -sf orterun usr/bin/$t.openmpi; ln -sf orterun usr/bin/$t; done
ln -sf opal_wrapper usr/bin/mpicc.openmpi; ln -sf opal_wrapper usr/bin/mpicc
[ -e usr/bin/pkg-config ] || ln -sf pkgconf usr/bin/pkg-config
[ -e $L/pkgconfig/hdf5.pc ] || ln -sf hdf5-serial.pc $L/pkgconfig/hdf5.pc
# the linker follows -rpath only: let it find the indirect libraries beside the direct ones
for d in $L/openmpi/lib $L/hdf5/serial; do
  for f in "$L"/lib*.so.[0-9]*; do [ -e "$d/$(basename "$f")" ] || ln -s "$(realpath -s --relative-to="$d" "$f")" "$d/"; done
done

# --- relocatable pkg-config files
find usr -name '*.pc' -type l | while read -r f; do cp --remove-destination "$(realpath "$f")" "$f"; done
find usr -name '*.pc' | while read -r f; do
  up=$(realpath --relative-to="$(dirname "$f")" usr)
  sed -i -E "s#(=|-I|-L|,)/usr#\1\${pcfiledir}/$up#g; /^(Requires|Libs)\.private/d" "$f"
done

# --- every program and library finds its neighbours by its own place (no LD_LIBRARY_PATH)
find usr -type f \( -name '*.so*' -o -path 'usr/bin/*' \) | while read -r f; do
  [ "$(head -c 4 "$f" | tail -c 3)" = ELF ] || continue
  r=$(realpath --relative-to="$(dirname "$f")" $L)
  patchelf --force-rpath --set-rpath "\$ORIGIN/$r:\$ORIGIN/$r/pmix2/lib:\$ORIGIN/$r/openmpi/lib:\$ORIGIN/$r/.." "$f" 2>/dev/null \
    || echo "patchelf: $f" >&2
done

cat > env.sh <<'V'
# to be sourced: settings for building and running out of this folder, wherever it lies; another shell than bash cannot
# tell where that is: SYSROOT=FOLDER first
[ -n "${SYSROOT:-}" ] || SYSROOT=$(cd "$(dirname "$BASH_SOURCE")" && pwd)
_l=$SYSROOT/usr/lib/x86_64-linux-gnu
export PATH=$SYSROOT/usr/bin:$PATH
export OPAL_PREFIX=$SYSROOT/usr PMIX_INSTALL_PREFIX=$_l/pmix2 PMIX_MCA_mca_base_component_path=$_l/pmix2/lib/pmix
export OMPI_MCA_orte_launch_agent="$SYSROOT/usr/bin/orted"
export PKG_CONFIG_LIBDIR=$_l/pkgconfig:$SYSROOT/usr/lib/pkgconfig:$SYSROOT/usr/share/pkgconfig
export CMAKE_PREFIX_PATH=$SYSROOT/usr${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}
export C_INCLUDE_PATH=$SYSROOT/usr/include:$SYSROOT/usr/include/x86_64-linux-gnu${C_INCLUDE_PATH:+:$C_INCLUDE_PATH}
export LIBRARY_PATH=$_l:$SYSROOT/usr/lib${LIBRARY_PATH:+:$LIBRARY_PATH}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export HDF5_ROOT=$SYSROOT/usr
# the linker looks here for what the libraries themselves need, and programs linked by hand find them at run time
export LD_RUN_PATH=$_l:$_l/pmix2/lib:$_l/hdf5/serial:$_l/openmpi/lib:$SYSROOT/usr/lib
# one machine, no ssh; plain shared memory (no process_vm_readv, which some sandboxes refuse)
export OMPI_MCA_plm=isolated OMPI_MCA_btl_vader_single_copy_mechanism=none
# for cmake: -C $SYSROOT/cache.cmake
V
cat > cache.cmake <<'V'
# cmake -C <sysroot>/cache.cmake ... : points FindMPI, FindHDF5 and pkg-config at this folder
set(_s "${CMAKE_CURRENT_LIST_DIR}/usr")
set(_l "${_s}/lib/x86_64-linux-gnu")
set(CMAKE_LIBRARY_ARCHITECTURE x86_64-linux-gnu CACHE STRING "")
set(MPI_C_COMPILER "${_s}/bin/mpicc" CACHE FILEPATH "")
set(MPIEXEC_EXECUTABLE "${_s}/bin/mpirun" CACHE FILEPATH "")
set(PKG_CONFIG_EXECUTABLE "${_s}/bin/pkg-config" CACHE FILEPATH "")
set(CMAKE_BUILD_RPATH "${_l};${_l}/hdf5/serial;${_l}/openmpi/lib" CACHE STRING "")
V
[ "${SYSROOT_MEDIA:-1}" = 1 ] || echo 'set(MIEN_MEDIA OFF CACHE BOOL "")' >>cache.cmake
cd "$OUT"; XZ_OPT=-9 tar cJf sysroot.tar.xz sysroot
mib() { du -sm "$1" | cut -f1; }
echo "debs: $(find debs -name '*.deb' | wc -l) files, $(mib debs) MiB; sysroot: $(mib sysroot) MiB; sysroot.tar.xz: $(mib sysroot.tar.xz) MiB"
