#!/bin/bash -eu
# A fuzzer per target: the same script with FUZZ_TARGET set, and the corpus that the tree has. In OSS-Fuzz's image.
cd "$SRC/dwconv"
python3 -m pip install . h5py ml_dtypes onnx tflite atheris
for target in safetensors npz keras hdf5 weights json onnx tflite config wisdom; do
    name=fuzz_$target
    {
        echo 'import os'
        echo "os.environ['FUZZ_TARGET'] = '$target'"
        echo 'import fuzz_files'
        echo 'fuzz_files.main()'
    } >"tests/fuzz/$name.py"
    compile_python_fuzzer "tests/fuzz/$name.py" --paths tests/fuzz --hidden-import fuzz_files
    cp "tests/fuzz/corpus/$target.zip" "$OUT/${name}_seed_corpus.zip"
done
