"""Whole models before and after `accelerate`: PyTorch, Keras on its backends; JAX layer by layer.

    python bench/models.py torch [--networks ...] [--format contiguous] [--threads 2]
    python bench/models.py torch-train | torch-compile
    DWCONV_TORCH_COMPILED=1 python bench/models.py torch ...     the operators in C++
    KERAS_BACKEND=jax python bench/models.py keras | keras-train
    python bench/models.py jax-layers

In the environment of the framework. Random weights, results are compared before they are timed.
Variants take turns; a line has the median of their times and of the ratios of each turn. One line
of JSON each, for `docs/models.md`.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from turns import in_turns  # of bench/

FORMATS = ("channels_last", "contiguous")

Variants = dict[str, Callable[[], Any]]


def measured(variants: Variants, rounds: int) -> dict[str, Any]:
    """Medians in ms, and how many times as fast as the first each of the others is."""
    times = in_turns(variants, rounds=rounds)
    first = next(iter(variants))
    ratios = {
        name: statistics.median(a / b for a, b in zip(times[first], of, strict=True))
        for name, of in times.items()
        if name != first
    }
    return {
        "ms": {name: round(1e3 * statistics.median(of), 3) for name, of in times.items()},
        "faster": {name: round(ratio, 3) for name, ratio in ratios.items()},
    }


def report(**row: Any) -> None:
    print(json.dumps(row), flush=True)


# ---- PyTorch -------------------------------------------------------------------------------------


def _framework() -> str:
    import torch

    from dwconv.torch import operators

    language = "C++" if operators.is_compiled() else "Python"
    return f"torch {torch.__version__}, operators in {language}"


def torch_models(options: argparse.Namespace, compiled: bool = False) -> None:
    import networks
    import torch
    from torch.fx.experimental.optimization import fuse

    import dwconv.torch

    torch.set_num_threads(options.threads)
    layout = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}[
        options.format
    ]
    for name in options.networks or networks.NETWORKS:
        eager = networks.make(name, layout).eval()
        x = torch.randn(1, 3, 224, 224).to(memory_format=layout)
        folded = fuse(copy.deepcopy(eager)).eval()
        fast = copy.deepcopy(eager)
        dwconv.torch.accelerate(fast)
        models = {"eager": eager, "folded": folded, "accelerated": fast}
        if compiled:
            models = {f"{key}, compiled": torch.compile(m) for key, m in models.items()}
        with torch.inference_mode():
            expected = eager(x)
            worst = max(
                float((m(x) - expected).abs().max() / expected.std()) for m in models.values()
            )
            variants = {key: (lambda m=m: m(x)) for key, m in models.items()}
            row = measured(variants, options.rounds)
        report(
            framework=_framework(),
            model=name,
            format=options.format,
            threads=options.threads,
            difference=worst,
            **row,
        )


def torch_training(options: argparse.Namespace) -> None:
    import networks
    import torch

    import dwconv.torch

    torch.set_num_threads(options.threads)
    layout = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}[
        options.format
    ]
    for name in options.networks or networks.NETWORKS:
        x = torch.randn(options.batch, 3, 224, 224).to(memory_format=layout)
        target = torch.randint(0, 1000, (options.batch,))

        def stepper(model: Any, x: Any = x, target: Any = target) -> Callable[[], float]:
            optimizer = torch.optim.SGD(model.parameters(), 1e-4)

            def step() -> float:
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(model(x), target)
                loss.backward()
                optimizer.step()
                return float(loss.detach())

            return step

        eager = networks.make(name, layout).train()
        fast = copy.deepcopy(eager)
        dwconv.torch.accelerate(fast, fold=False)
        variants = {"eager": stepper(eager), "accelerated": stepper(fast)}
        first = [step() for step in variants.values()]
        assert abs(first[0] - first[1]) < 1e-3, first
        report(
            framework=_framework(),
            model=f"{name}, training step, batch {options.batch}",
            format=options.format,
            threads=options.threads,
            **measured(variants, options.rounds),
        )


# ---- Keras ---------------------------------------------------------------------------------------

KERAS = ("MobileNet", "MobileNetV2", "EfficientNetB0", "Xception")


def _threads_of_xla(threads: int) -> None:
    """Before JAX is imported. Its pool has a thread for each CPU that the process may use, whatever
    its flags say.
    """
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cpus[-threads:])


def keras_models(options: argparse.Namespace, training: bool = False) -> None:
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend == "jax":
        _threads_of_xla(options.threads)
    import keras
    import numpy as np

    import dwconv.keras

    if backend == "torch":
        import torch

        torch.set_num_threads(options.threads)
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(options.threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    size, batch = (options.size, options.batch) if training else (224, 1)
    for name in options.networks or KERAS:
        x = np.random.default_rng(0).standard_normal((batch, size, size, 3)).astype("float32")
        target = np.zeros(batch, "int64")
        variants: Variants = {}
        results = []
        for key in ("before", "accelerated"):
            keras.utils.set_random_seed(0)
            model = getattr(keras.applications, name)(
                weights=None, input_shape=(size, size, 3), classifier_activation=None
            )
            if key == "accelerated":
                model = dwconv.keras.accelerate(model)
            if training:
                loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
                model.compile(keras.optimizers.SGD(1e-4), loss)
                variants[key] = lambda model=model: model.train_on_batch(x, target)
            else:
                variants[key] = lambda model=model: model.predict_on_batch(x)
            results.append(np.asarray(variants[key]()))
        # Results of random weights may be tiny, but are none of them 0.
        difference = float(abs(results[1] - results[0]).max() / abs(results[0]).max())
        assert difference < 1e-2, difference
        report(
            framework=f"Keras {keras.__version__} on {backend}",
            model=f"{name}, training step, batch {batch}, {size} x {size}" if training else name,
            threads=options.threads,
            difference=difference,
            **measured(variants, options.rounds),
        )


# ---- JAX, layer by layer -------------------------------------------------------------------------

LAYERS = (
    (112, 32, 3, 1),
    (56, 144, 3, 1),
    (56, 144, 3, 2),
    (14, 512, 3, 1),
    (14, 576, 3, 1),
    (7, 960, 5, 1),
    (7, 16, 3, 1),
)


def jax_layers(options: argparse.Namespace) -> None:
    """XLA's grouped convolution, k*k shifted multiply-adds in jnp (a control), ours, and our layer
    called with NumPy's arrays; `ratio` is the first one's time by that of each.

    Each in a process of its own: memory that one frees, and malloc returns to the system, costs the
    next one a fault for each page of its result, which at 112x112x32 takes longer than the layer.
    """
    rows: dict[str, dict[str, Any]] = {}
    for variant in (*_CONVOLUTIONS, NUMPY):
        command = [sys.executable, __file__, "jax-layer", "--variant", variant]
        command += ["--threads", str(options.threads), "--rounds", str(options.rounds)]
        command += ["--gradients"] if options.gradients else []
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        for line in done.stdout.splitlines():
            found = json.loads(line)
            row = rows.setdefault(found.pop("model"), {})
            for name, value in found.items():
                row.setdefault(name, {})[variant] = value
    for model, row in rows.items():
        first = next(iter(row["us"].values()))
        ratio = {name: round(first / us, 2) for name, us in row["us"].items()}
        report(model=model, threads=options.threads, **row, ratio=ratio)


NUMPY = "layer(numpy)"


def _xla(x: Any, kernel: Any, stride: int) -> Any:
    import jax

    return jax.lax.conv_general_dilated(
        x,
        kernel.reshape(*kernel.shape[:2], 1, -1),
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=kernel.shape[2],
    )


def _shifted(x: Any, kernel: Any, stride: int) -> Any:
    import jax.numpy as jnp

    k, out = kernel.shape[0], -(-x.shape[1] // stride)
    total = max((out - 1) * stride + k - x.shape[1], 0)
    sides = (total // 2, total - total // 2)
    padded, y = jnp.pad(x, ((0, 0), sides, sides, (0, 0))), 0.0
    for i in range(k):
        for j in range(k):
            reach = (out - 1) * stride + 1
            part = padded[:, i : i + reach : stride, j : j + reach : stride]
            y = y + part * kernel[i, j, :, 0]
    return y


def _ours(x: Any, kernel: Any, stride: int) -> Any:
    import dwconv.jax

    return dwconv.jax.depthwise_conv2d(x, kernel, strides=stride, padding="same")


_CONVOLUTIONS = {"XLA": _xla, "jnp control": _shifted, "dwconv.jax": _ours}


def jax_layer(options: argparse.Namespace) -> None:
    """One of these: us, seconds to compile, KB of memory besides arguments and results."""
    _threads_of_xla(options.threads)
    import jax
    import jax.numpy as jnp
    import numpy as np

    import dwconv

    rng = np.random.default_rng(0)
    convolution = _CONVOLUTIONS.get(options.variant)

    def compiled(call: Any, *arrays: Any) -> tuple[Callable[[], Any], dict[str, Any]]:
        began = time.perf_counter()
        made = jax.jit(call).lower(*arrays).compile()
        seconds = round(time.perf_counter() - began, 3)
        memory = made.memory_analysis().temp_size_in_bytes
        return (
            lambda: jax.block_until_ready(made(*arrays)),
            {"compiling_s": seconds, "temporary_kb": memory // 1024},
        )

    def timed(model: str, run: Callable[[], Any], **further: Any) -> None:
        for _ in range(50):
            run()
        times = []
        for _ in range(10 * options.rounds):
            began = time.perf_counter()
            run()
            times.append(time.perf_counter() - began)
        report(model=model, us=round(1e6 * statistics.median(times), 1), **further)

    for size, channels, k, stride in LAYERS:
        array = rng.standard_normal((1, size, size, channels), np.float32)
        kernel = rng.standard_normal((k, k, channels, 1), np.float32)
        layer = dwconv.DepthwiseConv2D(
            k, strides=stride, padding="same", use_bias=False, weights=[kernel]
        )
        model = f"{size}x{size}x{channels} {k}x{k}/{stride}"
        if convolution is None:
            timed(model, lambda array=array, layer=layer: layer(array))
            continue
        arrays = jnp.asarray(array), jnp.asarray(kernel)

        def forward(x: Any, kernel: Any, stride: int = stride) -> Any:
            return convolution(x, kernel, stride)

        def loss(x: Any, kernel: Any, forward: Any = forward) -> Any:
            return (forward(x, kernel) ** 2).sum()

        run, further = compiled(forward, *arrays)
        assert abs(np.asarray(run()) - layer(array)).max() < 1e-3
        timed(model, run, **further)
        if options.gradients:
            run, further = compiled(jax.grad(loss, (0, 1)), *arrays)
            timed(f"{model}, gradients", run, **further)


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "torch": torch_models,
    "torch-compile": lambda options: torch_models(options, compiled=True),
    "torch-train": torch_training,
    "keras": keras_models,
    "keras-train": lambda options: keras_models(options, training=True),
    "jax-layers": jax_layers,
    "jax-layer": jax_layer,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--networks", nargs="*")
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=96, help="of pictures, in training with Keras")
    parser.add_argument("--gradients", action="store_true", help="jax-layers: those, too")
    parser.add_argument("--variant", help="jax-layer: one of those that jax-layers compares")
    options = parser.parse_args()
    COMMANDS[options.command](options)


if __name__ == "__main__":
    main()
