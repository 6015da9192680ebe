"""Layers and lazy convolutions by other processes: the bits of one call, one journey of weights."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from support import patient, run_python

import dwconv

da = pytest.importorskip("dask.array")
pytest.importorskip("hypothesis")  # support.chunked needs it
import dask  # noqa: E402
from support.chunked import same_bits  # noqa: E402

import dwconv.dask as dwd  # noqa: E402
from dwconv.binding import cpus  # noqa: E402

METHODS = [
    pytest.param(method, marks=pytest.mark.slow)
    for method in ("fork", "spawn")
    if method in multiprocessing.get_all_start_methods()
]


def test_weights_are_in_one_task_of_the_graph():
    """64 chunks, one group of channels."""
    kernel = np.random.default_rng(1).standard_normal((5, 5, 512, 1)).astype("f4")
    x = da.zeros((64, 4, 4, 512), chunks=(1, 4, 4, 512), dtype="f4")
    y = dwd.depthwise_conv2d(x, kernel, padding="same")
    sizes = [len(pickle.dumps(task)) for task in dict(y.dask.layers[y.name]).values()]
    assert len(sizes) == 65
    assert sum(size > kernel.nbytes for size in sizes) == 1
    assert sum(sizes) < kernel.nbytes + 64 * 2000


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux does")
@pytest.mark.parametrize(("num_threads", "more"), [(1, 0), (2, 1)])
def test_a_task_starts_no_threads_unless_told(num_threads, more):
    if cpus.available() < num_threads:
        pytest.skip("one CPU")
    lines = f"""if True:
        import os
        import dask.array as da, numpy as np, dwconv.dask
        x = da.ones((1, 512, 512, 16), chunks=(1, 512, 512, 8))
        y = dwconv.dask.depthwise_conv2d(x, np.ones((3, 3, 16, 1)), num_threads={num_threads})
        before = len(os.listdir("/proc/self/task"))
        y.compute(scheduler="sync")
        print(len(os.listdir("/proc/self/task")) - before)
    """
    ran = run_python("-c", lines)
    assert (ran.stdout, ran.stderr) == (f"{more}\n", "")


def killing(block, path, block_id=None):
    """Kills the worker that computes a block in the middle, the first time."""
    if block_id == (2, 1, 1, 0):
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return block
        os.kill(os.getpid(), signal.SIGKILL)
    return block


def incoming_weights(dask_worker):
    """How often each worker received which weights of another one."""
    keys = [key for entry in dask_worker.transfer_incoming_log for key in entry["keys"]]
    return Counter(str(key) for key in keys if "weights-" in str(key))


def plans_made():
    """(made, kept and used again) by this process."""
    from dwconv.dask.convolution import plan_of

    return plan_of.cache_info().misses, plan_of.cache_info().hits


@pytest.mark.parametrize("method", METHODS)
def test_cluster(tmp_path, method):
    """A killed worker's tasks run again; plans are kept, weights travel once; a layer pickles."""
    distributed = pytest.importorskip("distributed")
    rng = np.random.default_rng(5)
    x = rng.standard_normal((4, 40, 40, 3)).astype("f4")
    kernel = rng.standard_normal((5, 5, 3, 1)).astype("f4")
    layer = dwconv.DepthwiseConv2D(3, padding="same", activation="softmax")
    in_one_call = layer(x)
    killer = tmp_path / "killed"
    with (
        dask.config.set({"distributed.worker.multiprocessing-method": method}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        lazy = da.from_array(x, chunks=(1, 17, 13, 2))
        y = dwd.depthwise_conv2d(lazy, kernel, padding="same", strides=2)
        inherited = client.run(plans_made)  # by a forked worker, from the tests before this one
        expected = dwconv.depthwise_conv2d(x, kernel, padding="same", strides=2)
        same_bits(client.compute(y).result(timeout=patient(60)), expected)
        travels = client.run(incoming_weights)
        assert len(travels) == 2
        assert all(count == 1 for worker in travels.values() for count in worker.values())
        made = {
            worker: (misses - inherited[worker][0], hits - inherited[worker][1])
            for worker, (misses, hits) in client.run(plans_made).items()
        }
        kinds = 2 * 3 * 4  # of channels, rows and columns, edges and a corner included
        assert all(misses <= kinds for misses, _ in made.values()), made
        assert sum(misses + hits for misses, hits in made.values()) == y.npartitions

        dying = y.map_blocks(killing, str(killer), dtype=y.dtype, meta=y._meta)
        same_bits(client.compute(dying).result(timeout=patient(60)), expected)
        assert killer.exists()

        parts = client.gather(client.map(layer, np.split(x, 4)))
        same_bits(np.concatenate(parts), in_one_call)
        same_bits(client.compute(dwd.apply(layer, lazy)).result(timeout=patient(60)), in_one_call)


@pytest.mark.parametrize("method", METHODS)
def test_layer_in_a_pool_of_processes(method):
    layer = dwconv.DepthwiseConv2D(3, padding="same")
    x = np.random.default_rng(6).standard_normal((6, 9, 9, 2)).astype("f4")
    expected = layer(x)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        parts = list(pool.map(pickle.loads(pickle.dumps(layer)), np.split(x, 3)))
    same_bits(np.concatenate(parts), expected)


def test_results_can_be_saved_before_they_are_computed():
    """A lazy array pickles as a whole, with its graph."""
    x = da.ones((2, 9, 9, 3), chunks=4)
    y = dwd.depthwise_conv2d(x, np.ones((3, 3, 3, 2)), activation="softmax")
    copy = pickle.loads(pickle.dumps(y))
    same_bits(copy.compute(scheduler="sync"), y.compute(scheduler="sync"))
