#!/bin/sh
# What each CUDA kernel takes of a multiprocessor: registers, bytes spilled to memory, stack, shared memory; held against
# the table that is kept (resources.txt). A kernel that spills more than the table says, that the table does not have, or
# that is only in the table, fails.
#
#   resources.sh run COMPILER ARGUMENTS    compiles, and keeps what ptxas -v says beside the object (the module's launcher)
#   resources.sh compile FOLDER            compiles every .cu for that alone, into a folder: where there is no build
#   resources.sh table FOLDER              prints the table of the reports below a folder
#   resources.sh check FOLDER              the test; exit status 77: there is nothing to check
#   resources.sh update FOLDER             writes the table
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$(dirname "$here")")
kept=$here/resources.txt

# The report is the object's name and .ptxas; anything else that the compiler says is passed on.
run() {
    object=
    previous=
    for word in "$@"; do
        if [ "$previous" = -o ]; then object=$word; fi
        previous=$word
    done
    if [ -z "$object" ]; then exec "$@"; fi
    status=0
    "$@" 2> "$object.ptxas" || status=$?
    grep -v -e '^ptxas info ' -e '^ *[0-9]* bytes stack frame' "$object.ptxas" >&2 || :
    exit $status
}

compile() {
    nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
    if [ ! -x "$nvcc" ]; then
        echo "skipped: no nvcc"
        exit 77
    fi
    for source in "$root"/nn/*.cu "$root"/nn/ops/*.cu; do
        object=$1/${source#"$root"/}.o
        mkdir -p "$(dirname "$object")"
        if [ -n "$(find "$object.ptxas" -newer "$source" 2> /dev/null)" ]; then continue; fi
        set -- "$1" -std=c++20 "-I$root" -D_GNU_SOURCE '-DMIEN_VERSION="0"' -Xptxas=-v
        for arch in 80 90 100; do
            if "$nvcc" --list-gpu-code | grep -qx "sm_$arch"; then set -- "$@" "-gencode=arch=compute_$arch,code=sm_$arch"; fi
        done
        folder=$1
        shift
        ("$here/resources.sh" run "$nvcc" "$@" -c "$source" -o "$object") || { rm -f "$object.ptxas"; exit 1; }
        set -- "$folder"
    done
}

# Lines "file kernel architecture registers spilled stack shared", sorted. Template arguments stay, parameters go.
table() {
    find "$1" -name '*.cu.o.ptxas' | LC_ALL=C sort | while read -r report; do
        file=$(echo "$report" | sed 's|^.*/\(nn/.*\)\.o\.ptxas$|\1|')
        c++filt < "$report" | awk -v file="$file" '
            function number(word,    before) {
                if (!match($0, "[0-9]+ " word)) return 0
                before = substr($0, RSTART, RLENGTH)
                return before + 0
            }
            /Compiling entry function/ {
                split($0, part, "\047")
                kernel = part[2]; arch = part[4]; spilled = stack = 0
                sub(/^void /, "", kernel)
                while (match(kernel, /\([^()]*\)$/)) kernel = substr(kernel, 1, RSTART - 1)
                gsub(/ /, "", kernel)
            }
            /bytes stack frame/ {
                spilled += number("bytes spill stores") + number("bytes spill loads")
                if (number("bytes stack frame") > stack) stack = number("bytes stack frame")
            }
            /Used [0-9]+ registers/ {
                match($0, /Used [0-9]+/)
                registers = substr($0, RSTART + 5, RLENGTH - 5)
                print file, kernel, arch, registers, spilled, stack, number("bytes smem")
            }'
    done | LC_ALL=C sort -u
}

check() {
    found=$(mktemp)
    trap 'rm -f "$found"' EXIT
    table "$1" > "$found"
    if [ ! -s "$found" ]; then
        echo "skipped: no reports of the compiler below $1; the CUDA module was not built"
        exit 77
    fi
    awk '
        /^#/ { next }
        { key = $1 " " $2 " " $3 }
        FNR == NR { spilled[key] = $5; registers[key] = $4; next }
        {
            seen[key] = 1; built[$1 " " $3] = 1; kernels++
            if (!(key in spilled)) { print "not in the table: " $0; bad++ }
            else if ($5 > spilled[key] + 0) { print "spills " $5 " bytes, " spilled[key] + 0 " in the table: " key; bad++ }
            else if ($4 > registers[key] + 8) print "note: " $4 " registers, " registers[key] " in the table: " key
        }
        END {
            for (key in spilled) {
                split(key, part, " ")
                if ((part[1] " " part[3]) in built && !(key in seen)) { print "only in the table: " key; bad++ }
            }
            print kernels " kernels, " bad + 0 " to look at (tests/gpu/resources.sh update FOLDER writes the table)"
            exit bad > 0
        }' "$kept" "$found"
}

update() {
    {
        echo "# file kernel architecture registers, bytes: spilled, stack, shared. Written by tests/gpu/resources.sh update."
        table "$1"
    } > "$kept.new"
    mv "$kept.new" "$kept"
}

command=${1:-}
case $command in
run) shift && run "$@" ;;
compile | table | check | update)
    if [ $# -ne 2 ]; then sed -n '2,13s/^# \{0,1\}//p' "$0" >&2 && exit 64; fi
    "$command" "$2"
    ;;
*) sed -n '2,13s/^# \{0,1\}//p' "$0" >&2 && exit 64 ;;
esac
