"""Throughput of a 5x5 filter over an array in zarr, beside dask-image and SciPy: `docs/dask.md`.

usage: python bench/dask_speed.py [--repeats 3]      (the extra big-image)

Each way filters the same array, chunks and cluster, from zarr to zarr; they take turns, and results
are compared before anything is timed. SciPy filters one image in memory, in one process.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import dask.array as da
import numpy as np
import scipy.ndimage
import zarr
from dask_image.ndfilters import correlate
from distributed import Client, LocalCluster

import dwconv.dask

N, SIDE, CHANNELS, CHUNK = 4, 1024, 8, 512


def ours(x, kernel):
    return dwconv.dask.depthwise_conv2d(x, kernel, padding="same")


def by_overlap(x, kernel):
    def filtered(block):
        return dwconv.depthwise_conv2d(block, kernel, padding=((2, 2), (2, 2)), num_threads=1)

    return da.map_overlap(
        filtered, x, depth={1: 2, 2: 2}, boundary="none", dtype=x.dtype, meta=x._meta
    )


def by_dask_image(x, kernel):
    planes = [
        correlate(x[..., c], kernel[None, :, :, c, 0], mode="constant") for c in range(CHANNELS)
    ]
    return da.stack(planes, axis=-1).rechunk(x.chunks)


def by_scipy(image, kernel):
    out = np.empty_like(image)
    for c in range(CHANNELS):
        scipy.ndimage.correlate(image[..., c], kernel[:, :, c, 0], out[..., c], mode="constant")
    return out


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((5, 5, CHANNELS, 1)).astype(np.float32)
    values = rng.standard_normal((N, SIDE, SIDE, CHANNELS)).astype(np.float32)
    whole = dwconv.depthwise_conv2d(values, kernel, padding="same")
    ways = {"dwconv.dask": ours, "map_overlap": by_overlap, "dask-image": by_dask_image}
    seconds: dict[str, list[float]] = {name: [] for name in (*ways, "scipy")}
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
    ):

        def create(name):
            return zarr.create_array(
                str(Path(folder) / name),
                shape=values.shape,
                chunks=(1, CHUNK, CHUNK, CHANNELS),
                dtype="f4",
                compressors=None,
                overwrite=True,
            )

        source = create("x")
        source[:] = values
        for turn in range(repeats + 1):  # the first is compared, not timed
            for name, way in ways.items():
                target = create("y")
                began = time.perf_counter()
                da.store(way(da.from_zarr(source), kernel), target, lock=False)
                seconds[name].append(time.perf_counter() - began)
                if turn == 0 and name == "dask-image":
                    assert np.allclose(target[:], whole, atol=1e-4)
                elif turn == 0:
                    assert np.array_equal(target[:], whole), name
            began = time.perf_counter()
            image = by_scipy(values[0], kernel)
            seconds["scipy"].append((time.perf_counter() - began) * N)
            assert np.allclose(image, whole[0], atol=1e-4)
    for name, times in seconds.items():
        rate = values.nbytes / 1e6 / statistics.median(times[1:])
        spread = [round(values.nbytes / 1e6 / t) for t in sorted(times[1:])]
        print(f"{name:12s} {rate:6.0f} MB/s   all {spread}")


if __name__ == "__main__":
    main()
