#!/usr/bin/env bash
# sanitized.sh asan|tsan [pytest arguments]: builds the package with gcc's sanitizers, beside the ordinary build, in
# build/asan or build/tsan, and runs tests with it; without names of tests all of them, or with tsan those of threads.
# sanitized.sh asan --fuzz SECONDS: only tests/c/fuzz_plan.c.
#
# asan is AddressSanitizer and UndefinedBehaviorSanitizer; the programs in tests/c run, too, linked with the same
# objects. A finding ends the process with status 99 and its report.
set -euo pipefail
cd "$(dirname "$0")/.."
kind=$1
shift
folder=$PWD/build/$kind
python=$PWD/${VENV:-.venv}/bin/python

case $kind in
asan)
    sanitizers=address,undefined libraries='libasan.so libubsan.so'
    # They run compilers, which are not what is tested.
    tests='tests --ignore=tests/core/test_c.py --ignore=tests/tools/test_code_shape.py'
    ;;
tsan)
    sanitizers=thread libraries=libtsan.so
    tests='tests/threads/test_parallel.py tests/threads/test_threads.py tests/threads/test_gradient_threads.py tests/threads/test_memory.py tests/threads/test_service.py'
    ;;
*) echo "expected asan or tsan; received $kind" >&2 && exit 2 ;;
esac

# A copy of the sources: a build in place would put the sanitized module where the ordinary one is.
mkdir -p "$folder/source"
rm -rf "$folder/source/csrc" "$folder/source/dwconv" # a file that was renamed is not to be compiled twice
tar --exclude='*.so' --exclude=__pycache__ -c csrc dwconv setup.py pyproject.toml README.md LICENSE |
    tar -x -C "$folder/source"
for object in "$folder"/source/build/temp.*/csrc/*.o; do
    source=csrc/$(basename "${object%.o}").c
    if [ -e "$object" ] && [ ! -e "$source" ]; then rm "$object"; fi
done
echo "building with -fsanitize=$sanitizers"
CC=gcc DWCONV_SANITIZE=$sanitizers "$python" -m pip install --quiet --disable-pip-version-check --no-deps --upgrade \
    --target "$folder/site" "$folder/source"

export ASAN_OPTIONS=exitcode=99:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1:exitcode=99
# TSan does not support threads started in a child of a process with threads; those of gunicorn are such.
export TSAN_OPTIONS=exitcode=99:allocator_may_return_null=1:die_after_fork=0

c_program() { # NAME [flags]: of tests/c, with the objects of the module
    gcc -std=c11 -g -O1 -Icsrc -fsanitize=$sanitizers "tests/c/$1.c" "${@:2}" \
        "$folder"/source/build/temp.*/csrc/*.o "$folder"/source/build/temp.*/csrc/isa/*.o -lm -pthread -o "$folder/$1"
}

fuzz() { # SECONDS
    c_program fuzz_plan -DFUZZ_MAIN
    "$folder/fuzz_plan" "$1"
}

if [ "${1:-}" = --fuzz ]; then
    fuzz "$2"
    exit
fi
if [ "$kind" = asan ]; then
    c_program test_api && "$folder/test_api"
    c_program test_copies && "$folder/test_copies"
    c_program test_machine && "$folder/test_machine"
    c_program test_measure && "$folder/test_measure"
    c_program test_grad && "$folder/test_grad"
    c_program test_half && "$folder/test_half"
    c_program test_quantized && "$folder/test_quantized"
    c_program test_nomem -Wl,--wrap={malloc,calloc,realloc,aligned_alloc,posix_memalign,free} && "$folder/test_nomem"
fi
fuzz "${FUZZ_SECONDS:-10}"

# The runtime comes first in a Python that was built without it. Memory from malloc, each block with its surroundings.
# What Python itself leaves behind at its end is not ours to find.
preload=
for library in $libraries; do preload+=${preload:+:}$(gcc -print-file-name="$library"); done
export ASAN_OPTIONS+=:detect_leaks=0 PYTHONMALLOC=malloc PYTHONPATH=$folder/site
export LD_PRELOAD=$preload

root=$PWD
cd "$folder" # where no other dwconv is
"$python" -c 'import dwconv; print(dwconv.__file__)' | grep "^$folder/site/"
arguments=("$@")
# shellcheck disable=SC2206 # words
[[ " $*" == *" tests"* ]] || arguments+=($tests)
arguments=("${arguments[@]/#tests/$root/tests}")
arguments=("${arguments[@]/#--ignore=tests/--ignore=$root/tests}")
# A finding ends pytest, and what it has captured with it; by --capture=sys it leaves standard error to the report.
exec "$python" -m pytest -p no:cacheprovider --capture=sys "${arguments[@]}"
