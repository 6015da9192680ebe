#!/usr/bin/env bash
# make fuzz-files: the readers, fuzzed with atheris for so many seconds each, from the corpora in tests/fuzz/corpus.
#
#   PYTHON=.venv/bin/python tools/fuzz_files.sh SECONDS [TARGET ...]
#
# What is new goes to build/fuzz-files, a finding to build/fuzz-files/findings. MERGE=1 afterwards makes the corpora in
# the tree anew: the smallest inputs that together reach all of the code that any reaches.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
shift || true
targets=${*:-safetensors npz keras hdf5 weights json config}
python=$(realpath -s "${PYTHON:-.venv/bin/python}")
work=build/fuzz-files
mkdir -p "$work/findings"
# 10 s and 1 GB for an input: ten times what SECURITY.md promises, since instrumented code takes some of that.
limits=(-timeout=10 -rss_limit_mb=1024 -max_len=40000)
for target in $targets; do
    known=$work/known/$target
    rm -rf "$known"
    mkdir -p "$work/$target" "$known"
    "$python" -m zipfile -e "tests/fuzz/corpus/$target.zip" "$known"
    echo "== $target"
    if [ -n "${MERGE-}" ]; then
        rm -rf "$work/merged" && mkdir -p "$work/merged"
        "$python" tests/fuzz/fuzz_files.py "$target" -merge=1 "${limits[@]}" "$work/merged" "$known" "$work/$target" 2>&1 | tail -n 1
        (cd "$work/merged" && "$python" -m zipfile -c "../$target.zip" ./*)
        mv "$work/$target.zip" tests/fuzz/corpus/
        continue
    fi
    options=("-max_total_time=$seconds" "-artifact_prefix=$work/findings/$target-" "${limits[@]}")
    # SEED: the same inputs each time; what a new seed finds is nobody's fault in a run of the CI.
    [ -z "${SEED-}" ] || options+=("-seed=$SEED")
    "$python" tests/fuzz/fuzz_files.py "$target" "${options[@]}" "$work/$target" "$known" >"$work/$target.log" 2>&1 ||
        { tail -n 60 "$work/$target.log"; exit 1; }
    tail -n 1 "$work/$target.log"
done
