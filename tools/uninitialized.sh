#!/usr/bin/env bash
# uninitialized.sh msan|valgrind: the C core with the programs of tests/c, watched for reads of memory that nobody has
# written, and with valgrind for everything else that it finds. In build/msan or build/valgrind.
#
# msan needs clang. valgrind (Debian: valgrind) emulates a CPU with AVX2, so AVX-512 is left to msan. What is not
# installed is said and no failure.
set -euo pipefail
cd "$(dirname "$0")/.."
kind=$1
folder=$PWD/build/$kind
flags='-std=c11 -g1 -ffp-contract=off -Icsrc'
run=
case $kind in
msan)
    compiler=${CLANG:-clang}
    flags+=' -O1 -fsanitize=memory -fno-omit-frame-pointer'
    export MSAN_OPTIONS=exitcode=99:allocator_may_return_null=1
    ;;
valgrind)
    compiler=${CC:-gcc}
    flags+=' -O1'
    run='valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect'
    command -v valgrind >/dev/null || { echo 'valgrind is left out: not installed'; exit; }
    ;;
*) echo "expected msan or valgrind; received $kind" >&2 && exit 2 ;;
esac
mkdir -p "$folder"
# shellcheck disable=SC2086 # words
if ! echo 'int main(void) { return 0; }' | $compiler $flags -x c - -o "$folder/probe" 2>"$folder/probe.log"; then
    echo "$kind is left out: $(tail -n 1 "$folder/probe.log")"
    exit
fi

echo "compiling for $kind"
rm -f "$folder"/*.o
{ # those that take longest first
    for source in csrc/isa/*.c csrc/*.c; do echo "-c $source -o $folder/$(basename "$source" .c).o"; done
} | xargs -P "$(getconf _NPROCESSORS_ONLN)" -L 1 $compiler $flags

programs='test_grad test_threads'
# valgrind emulates neither rounding modes nor the flush of denormal numbers, and loses signs of zeros in multiply-adds.
# Results are not judged there; test_api and fuzz_plan, which end or fail at the first such difference, are left out.
[ "$kind" = valgrind ] || programs="test_api $programs fuzz_plan"

for name in $programs; do
    # shellcheck disable=SC2086
    $compiler $flags -DFUZZ_MAIN "tests/c/$name.c" "$folder"/*.o -lm -pthread -o "$folder/$name"
    arguments=
    [ $name != fuzz_plan ] || arguments="${FUZZ_SECONDS:-10} 1"
    echo "$kind: $name"
    status=0
    # shellcheck disable=SC2086
    $run "$folder/$name" $arguments >"$folder/$name.log" 2>&1 || status=$?
    tail -n 3 "$folder/$name.log"
    if [ "$kind" = valgrind ] && [ $status = 1 ]; then
        echo "$name: a result that valgrind's arithmetic makes different; no fault in memory"
    elif [ $status != 0 ]; then
        exit $status
    fi
done
