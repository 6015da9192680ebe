"""What the bench computes by itself: shapes, padding, work, ratios; its files of shapes."""

from __future__ import annotations

import math
import re
import sys

import numpy as np
import pytest
from support import ROOT

import dwconv

sys.path.insert(0, str(ROOT / "bench"))

import problem as problems
import report
import shapes
from driver import Figures


@pytest.mark.parametrize("network", shapes.networks())
def test_a_network_has_as_many_layers_as_its_first_lines_say(network):
    text = (shapes.FOLDER / f"{network}.txt").read_text(encoding="utf-8")
    found = [shape for group in shapes.read(network) for shape in group.shapes]
    assert len(set(found)) == len(found)
    if network == "targets":
        return
    words = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "nine": 9}
    times = [words[word] for word in re.findall(r"\d   # (\w+)", text)]
    declared = re.search(r"its (\d+) depthwise", text)
    assert declared
    assert len(found) + sum(times) - len(times) == int(declared[1])


@pytest.mark.parametrize("network", shapes.networks())
def test_work_and_sizes_are_those_of_the_operation(network):
    for group in shapes.read(network):
        for shape in group.shapes:
            # Ones everywhere, one channel: each output is the number of its taps in the input.
            y = dwconv.depthwise_conv2d(
                np.ones((1, shape.height, shape.width, 1), np.float32),
                np.ones((*shape.kernel_size, 1, 1), np.float32),
                padding="same",
                strides=shape.strides,
                dilation_rate=shape.dilation_rate,
            )
            assert y.shape == (1, *shape.output[:2], 1)
            assert y.sum(dtype=np.int64) * shape.output[2] == shape.fmas


def test_same_padding_is_that_of_the_layer():
    for shape in (group.shapes[0] for group in shapes.read("targets")):
        made = problems.make(shape, "float32", channels_first=False)
        options = {"strides": shape.strides, "dilation_rate": shape.dilation_rate}
        same = dwconv.depthwise_conv2d(made.x, made.kernel, padding="same", **options)
        explicit = dwconv.depthwise_conv2d(
            made.x, made.kernel, padding=shape.same_padding, **options
        )
        np.testing.assert_array_equal(same, explicit)


def test_a_problem_is_the_same_in_both_layouts_and_after_a_file(tmp_path):
    shape = shapes.read("targets")[0].shapes[0]
    last = problems.make(shape, "float32", channels_first=False)
    first = problems.make(shape, "float32", channels_first=True)
    np.testing.assert_array_equal(first.nhwc, last.x)
    problems.write(first, tmp_path / "p.npz")
    again = problems.read(tmp_path / "p.npz")
    assert (again.shape, again.channels_first) == (shape, True)
    np.testing.assert_array_equal(again.nchw, last.nchw)


def test_classes_and_patterns(tmp_path, monkeypatch):
    monkeypatch.setattr(shapes, "FOLDER", tmp_path)
    (tmp_path / "n.txt").write_text("[a >= 2]\n8 8 16 3 1 1 1 # c\n[b]\n9 8 16 3x5 2 1 2\n")
    groups = shapes.read("n")
    assert [(group.name, group.at_least) for group in groups] == [("a", 2.0), ("b", None)]
    assert [str(shape) for group in groups for shape in group.shapes] == [
        "8x8x16 k3 s1",
        "9x8x16 k3x5 s2 M2",
    ]
    assert shapes.select(groups, "a") == groups[:1]
    assert shapes.select(groups, "*M2") == groups[1:]
    (tmp_path / "n.txt").write_text("8 8 16 3 1 1\n")
    with pytest.raises(ValueError, match=r"n\.txt:1: expected the columns H W C k s d M; received"):
        shapes.read("n")


def test_ratios_are_taken_within_rounds_and_compared_with_the_targets():
    def figures(*rounds):
        return Figures("", list(rounds), {})

    shape = shapes.read("targets")[0].shapes[0]
    times = {
        "dwconv": figures(1.0, 2.0, 1.0),  # the machine was slow in the second round
        "litert": figures(3.0, 6.0, 3.0),
        "torch": figures(4.0, 4.0, 4.0),
        "roofline": figures(0.5, 1.0, 0.5),
    }
    row = report.Row("a class", 3.5, shape, times)
    assert row.best_peer == "litert"
    assert (row.advantage(), row.limit(), row.share()) == (3.0, 6.0, 0.5)
    told = report.summary(report.Run("", {}, [*times], [row], []), channels_first=False)
    assert re.search(r"a class +3\.00  \(at least 3\.5, roofline 6\.00\)  MISSED", told[0])
    assert not told[1].endswith("MISSED")
    assert math.isclose(report.geometric_mean([2, 8]), 4)
