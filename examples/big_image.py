"""A picture larger than memory: blurred, its edges found by Sobel's filters, from zarr to zarr.

    make big-image                  4 GB, in big_image/
    make big-image ARGS="--gb 0.5"

Two Dask workers of 1 GB each do it, so neither holds the picture. It ends with big_image/edges.png,
a downsampled view, and compares some rows with one call of dwconv, to the bit.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

import dask.array as da
import numpy as np
import zarr
from distributed import Client, LocalCluster, progress

import dwconv
import dwconv.dask

CHUNK = 1024
SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32)
BLUR = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]).astype(np.float32) / 256


def kernels(channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the blur, (5, 5, C, 1), and of the slopes along x and y, (3, 3, C, 2)."""
    blur = np.repeat(BLUR[:, :, None, None], channels, axis=2)
    slopes = np.repeat(np.stack([SOBEL, SOBEL.T], axis=-1)[:, :, None], channels, axis=2)
    return blur, slopes


def steepness(slopes):
    """(..., C*2), x and y of each channel -> (..., C), their length."""
    along_x, along_y = slopes[..., 0::2], slopes[..., 1::2]
    return np.sqrt(along_x * along_x + along_y * along_y)


def edges(convolve, picture, channels: int):
    """The slopes of the blurred picture (N, H, W, C), by dwconv's function of either kind."""
    blur, sobel = kernels(channels)
    return convolve(convolve(picture, blur, padding="same"), sobel, padding="same")


def lazy_edges(picture: da.Array) -> da.Array:
    """The steepness at each pixel, as a Dask array."""
    slopes = edges(dwconv.dask.depthwise_conv2d, picture, picture.shape[-1])
    chunks = (*slopes.chunks[:-1], picture.chunks[-1])
    return slopes.map_blocks(steepness, chunks=chunks, dtype=slopes.dtype, meta=picture._meta)


def photograph() -> np.ndarray:
    """(512, 512, 3), from 0 to 1."""
    from skimage import data

    return data.astronaut().astype(np.float32) / 255


def tiled(gigabytes: float) -> da.Array:
    """That photograph, tiled to so many gigabytes of float32: (1, H, W, 3)."""
    tile = photograph()
    times = max(1, round((gigabytes * 1e9 / tile.nbytes) ** 0.5))
    count = max(1, times * 512 // CHUNK)
    cuts = ((1,), (CHUNK,) * count, (CHUNK,) * count, (3,))
    return da.map_blocks(
        chunk_of_tiles, chunks=cuts, dtype=np.float32, meta=np.empty((0,) * 4, np.float32)
    )


def chunk_of_tiles() -> np.ndarray:
    """(1, CHUNK, CHUNK, 3); each worker reads the photograph itself."""
    return np.tile(photograph(), (CHUNK // 512, CHUNK // 512, 1))[None]


def create(path: Path, like: da.Array) -> zarr.Array:
    """An array on disk with the chunks of `like`."""
    return zarr.create_array(
        str(path),
        shape=like.shape,
        chunks=like.chunksize,
        dtype=like.dtype,
        compressors=None,
        overwrite=True,
    )


def view(edges: zarr.Array) -> np.ndarray:
    """(height, width, 3), up to 2048 pixels each: means of squares, by one row of chunks at a time.

    Read by zarr: in Dask these would be views, which keep whole chunks in a worker's memory.
    """
    _, height, width, channels = edges.shape
    step = 1
    while height // (2 * step) >= 1024:  # a power of two, which divides chunks
        step *= 2
    bands = []
    for top in range(0, height, CHUNK):
        band = edges[0, top : top + CHUNK]
        squares = band.reshape(-1, step, width // step, step, channels)
        bands.append(squares.mean((1, 3)))
    return np.concatenate(bands)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gb", type=float, default=4, help="size of the picture")
    parser.add_argument("--folder", type=Path, default=Path("big_image"))
    options = parser.parse_args()
    folder = options.folder
    folder.mkdir(exist_ok=True)
    shape = tiled(options.gb)
    print(f"picture: {shape.shape}, {shape.nbytes / 1e9:.2f} GB, {shape.npartitions} chunks")
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit="1GB", dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        source = create(folder / "picture.zarr", shape)
        run(client, da.store(shape, source, lock=False, compute=False), "written")
        picture = da.from_zarr(source)
        found = lazy_edges(picture)
        target = create(folder / "edges.zarr", picture)
        stored = da.store(found, target, lock=False, compute=False)
        seconds = run(client, stored, "edges")
        print(f"edges: {picture.nbytes / 1e6 / seconds:.0f} MB/s of picture, zarr to zarr")
    small = view(target)
    rows = min(CHUNK + 64, picture.shape[1])  # two rows of chunks; those below read further down
    whole = steepness(edges(dwconv.depthwise_conv2d, source[:, :rows], 3))[:, : rows - 8]
    assert np.array_equal(target[:, : rows - 8], whole), "other bits than one call"
    print(f"the first {rows - 8} rows have the bits of one call")
    from PIL import Image

    brightest = max(float(np.percentile(small, 99.5)), 1e-9)
    pixels = np.clip(small / brightest * 255, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "edges.png")
    for name in ("picture.zarr", "edges.zarr"):
        shutil.rmtree(folder / name)
    print(f"wrote {folder / 'edges.png'}; the arrays are deleted")


def run(client: Client, work, what: str) -> float:
    """Seconds that `work` takes, with a progress bar."""
    began = time.perf_counter()
    future = client.compute(work)
    progress(future, notebook=False)
    future.result()
    seconds = time.perf_counter() - began
    print(f"\n{what}: {seconds:.1f} s")
    return seconds


if __name__ == "__main__":
    main()
