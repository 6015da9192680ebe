"""Coverage-guided fuzzing of the readers with atheris: `make fuzz-files SECONDS=...`.

    python tests/fuzz/fuzz_files.py TARGET [libFuzzer's options] [corpus ...]

A target is a format, whose bytes are loaded in every way that there is, or `config`, JSON that goes
to `from_config`. An exception that is not documented is a finding, and so are ten seconds of CPU
time for one input, or a gigabyte (libFuzzer's -rss_limit_mb, see tools/fuzz_files.py).

OSS-Fuzz runs the same file, see tests/fuzz/oss-fuzz.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(include=["dwconv", "zipfile"]):
    import dwconv
    import dwconv.saving
    from dwconv import DepthwiseConv2D, FormatError, Sequential
    from dwconv.cli import CommandError, inspect
    from dwconv.formats import (
        hdf5,
        keras_json,
        keras_weights,
        keras_zip,
        npz,
        onnx,
        safetensors,
        store,
        tflite,
    )

assert all((hdf5, keras_json, keras_weights, keras_zip, npz, onnx, safetensors, store, tflite))

warnings.simplefilter("ignore")

#: Of CPU time for one input: ten times what SECURITY.md promises, since instrumented code takes
#: some of that. A clock would count what other processes on the machine take, too.
MOST_SECONDS = 10

#: Target -> suffix.
SUFFIXES = {
    "safetensors": ".safetensors",
    "npz": ".npz",
    "keras": ".keras",
    "hdf5": ".h5",
    "weights": ".weights.h5",
    "json": ".json",
    "onnx": ".onnx",
    "tflite": ".tflite",
}

#: Targets whose reader needs the package of that name: imported before the time of inputs counts.
PACKAGES = {"onnx", "tflite"}

#: The architecture for files of weights alone.
ARCHITECTURE = {
    "class_name": "Sequential",
    "config": {
        "name": "model",
        "layers": [
            {"class_name": "DepthwiseConv2D", "config": {"name": "dw", "kernel_size": [1, 2]}},
            {
                "class_name": "Sequential",
                "config": {
                    "name": "inner",
                    "layers": [
                        {
                            "class_name": "DepthwiseConv2D",
                            "config": {"name": "deep", "kernel_size": [1, 2]},
                        }
                    ],
                },
            },
        ],
    },
}


def file_target(suffix: str) -> Callable[[bytes], None]:
    """Loads the bytes as a file with this suffix."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=memory if memory.is_dir() else None))
    path = folder / f"input{suffix}"
    target = DepthwiseConv2D((1, 2), name="dw")
    target.build((None, 4, 4, 2))

    def run(data: bytes) -> None:
        path.write_bytes(data)
        with suppress(FormatError):
            dwconv.load_layers(path)
        with suppress(FormatError):
            dwconv.load_layers(path, fold=True, on_error="skip")
        with suppress(FormatError):
            dwconv.load(path)
        with suppress(FormatError):
            dwconv.saving.image_sizes(path, None, (64, 48))
        with suppress(CommandError), redirect_stdout(io.StringIO()):
            inspect.run(path, None)
        if suffix != ".json":
            with suppress(FormatError):
                target.load_weights(path)
        if suffix == ".safetensors":
            with suppress(FormatError):
                dwconv.load(path, mmap=True)
        if suffix.endswith(".h5"):
            with suppress(FormatError, ValueError):  # ValueError: the file has its own
                dwconv.load_layers(path, ARCHITECTURE)

    return run


def config(data: bytes) -> None:
    """Reads JSON as the config of a layer and of a model."""
    try:
        value: Any = json.loads(data)
    except (ValueError, RecursionError):
        return
    with suppress(ValueError, TypeError):
        layer = DepthwiseConv2D.from_config(value)
        DepthwiseConv2D.from_config(layer.get_config())
    with suppress(ValueError, TypeError):
        # A model whose input is known is built: that takes the memory that it asks for.
        model = Sequential.from_config(small(value))
        Sequential.from_config(model.get_config())


def wisdom(data: bytes) -> None:
    """Reads the bytes as wisdom, and writes what is found."""
    path = Path(tempfile.gettempdir()) / f"fuzz-wisdom-{os.getpid()}.json"
    path.write_bytes(data)
    with suppress(FormatError):
        dwconv.wisdom.load(path)
        dwconv.wisdom.save(path)
    dwconv.wisdom.forget()


def small(value: Any) -> Any:
    """The same with no number beyond 64."""
    if isinstance(value, dict):
        return {key: small(item) for key, item in value.items()}
    if isinstance(value, list):
        return [small(item) for item in value]
    return value % 64 if type(value) in (int, float) and abs(value) > 64 else value


def within_seconds(run: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """The same; too much CPU time is an error."""

    def timed(data: bytes) -> None:
        began = time.process_time()
        run(data)
        used = time.process_time() - began
        if used > MOST_SECONDS:
            raise TimeoutError(f"{used:.1f} s of CPU time for {len(data)} bytes")

    return timed


def main() -> None:
    """Fuzzes the target of the first argument."""
    name = os.environ.get("FUZZ_TARGET") or sys.argv.pop(1)
    # For the processes that -merge starts, by a shell, as the first argument and the options.
    os.environ["FUZZ_TARGET"] = name
    sys.argv[0] = f"{sys.executable} {sys.argv[0]}"
    # A checksum would stop nearly every mutated archive before anything of ours sees it.
    zipfile.ZipExtFile._update_crc = lambda self, data: None  # type: ignore[attr-defined]
    if name in PACKAGES:
        importlib.import_module(name)
    others = {"config": config, "wisdom": wisdom}
    run = others[name] if name in others else file_target(SUFFIXES[name])
    atheris.Setup(sys.argv, within_seconds(run))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
