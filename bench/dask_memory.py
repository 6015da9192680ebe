"""Peak memory of two workers of 1 GB each that filter a virtual array of 20 GB: `docs/dask.md`.

usage: python bench/dask_memory.py [GB] [--map-overlap]
"""

from __future__ import annotations

import argparse
import time

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait

import dwconv.dask


def status() -> dict[str, float]:
    """The peak of this process's resident memory, in MB."""
    lines = open("/proc/self/status").read().splitlines()  # noqa: PTH123, SIM115
    peak = next(line for line in lines if line.startswith("VmHWM"))
    return {"peak_mb": int(peak.split()[1]) / 1000}


def pixels(block_info: dict) -> np.ndarray:
    """A chunk of the array: cheap to make, different at each place."""
    place = block_info[None]["chunk-location"]
    rng = np.random.default_rng(place)
    return rng.random(block_info[None]["chunk-shape"], np.float32)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("gb", nargs="?", type=float, default=20)
    parser.add_argument("--map-overlap", action="store_true")
    options = parser.parse_args()
    side, channels = 1024, 8
    images = max(1, round(options.gb * 1e9 / (4 * (4 * side) ** 2 * channels)))
    cuts = ((1,) * images, (side,) * 4, (side,) * 4, (channels,))
    x = da.map_blocks(pixels, chunks=cuts, dtype=np.float32, meta=np.empty((0,) * 4, np.float32))
    kernel = np.random.default_rng(1).standard_normal((5, 5, channels, 1)).astype(np.float32)
    if options.map_overlap:
        y = da.map_overlap(
            lambda block: dwconv.depthwise_conv2d(
                block, kernel, padding=((2, 2), (2, 2)), num_threads=1
            ),
            x,
            depth={1: 2, 2: 2},
            boundary="none",
            dtype=x.dtype,
            meta=x._meta,
        )
    else:
        y = dwconv.dask.depthwise_conv2d(x, kernel, padding="same")
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit="1GB", dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        start = client.run(status)
        began = time.perf_counter()
        total = client.compute(abs(y).max())
        wait(total)
        seconds = time.perf_counter() - began
        print(
            f"{x.nbytes / 1e9:.1f} GB, {x.npartitions} chunks, {seconds:.0f} s, "
            f"max {total.result():.6f}"
        )
        print("before, MB:", [round(each["peak_mb"]) for each in start.values()])
        print("peak, MB:  ", [round(each["peak_mb"]) for each in client.run(status).values()])
        same = set(start) == set(client.run(status))
        print("no worker was restarted" if same else "workers were restarted")


if __name__ == "__main__":
    main()
