#!/usr/bin/env bash
# fuzz.sh [seconds]: fuzzes the core for so long, with AddressSanitizer and UndefinedBehaviorSanitizer. SEED: 0, or none,
# is a random one.
#
# With clang, libFuzzer searches for new paths, from what it found before, in build/fuzz/corpus; without it the same
# target gets random bytes, as part of tools/sanitized.sh. What fails is kept as build/fuzz/crash-*, and
# build/fuzz/fuzz_plan FILE repeats it.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
folder=build/fuzz
mkdir -p $folder/corpus

if ! echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' |
    clang -w -x c -fsanitize=fuzzer,address - -o $folder/probe 2>$folder/probe.log; then
    echo "no clang with libFuzzer ($(tail -n 1 $folder/probe.log)): random bytes, by gcc"
    exec tools/sanitized.sh asan --fuzz "$seconds"
fi

# Checks of memory as calls: smaller than inline, and compiled in half the time.
flags='-std=c11 -O1 -ffp-contract=off -Wall -Wextra -Icsrc -fno-omit-frame-pointer'
flags+=' -mllvm -asan-instrumentation-with-call-threshold=0'
# All checks for what computes sizes and addresses. For the unrolled kernels, those of pointers and line numbers would
# take minutes to compile, and their paths are not worth counting: AddressSanitizer and guard pages watch what they touch.
core='-g1 -fsanitize=fuzzer-no-link,address,undefined'
kernels=-fsanitize=address,signed-integer-overflow,shift,bounds
link=-fsanitize=fuzzer,address,undefined

# One rule for all objects: anything newer than they are compiles them again.
if [ ! -x $folder/fuzz_plan ] || [ -n "$(find csrc tests/c/fuzz_plan.c "$0" -newer $folder/fuzz_plan -print -quit)" ]; then
    echo "compiling with clang"
    rm -f $folder/*.o
    compile() { # those that take longest first
        for source in csrc/isa/*.c; do echo $kernels -c "$source" -o $folder/isa_"$(basename "$source")".o; done
        for source in csrc/*.c tests/c/fuzz_plan.c; do echo $core -c "$source" -o $folder/"$(basename "$source")".o; done
    }
    compile | xargs -P "$(getconf _NPROCESSORS_ONLN)" -L 1 clang $flags
    clang $link $folder/*.o -lm -pthread -o $folder/fuzz_plan
fi

export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 ASAN_OPTIONS=detect_leaks=1
$folder/fuzz_plan -seed="${SEED:-0}" -max_total_time="$seconds" -max_len=64 -len_control=0 -timeout=20 -print_final_stats=1 \
    -artifact_prefix=$folder/ $folder/corpus 2>&1 | tee $folder/log | grep -v -E '^(#[0-9]|\s+NEW_FUNC)'
