"""`dwconv.torch.accelerate` on models of PyTorch. Skipped without PyTorch."""

from __future__ import annotations

import copy
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch")

from support.torch_operators import language  # noqa: E402, F401
from torch import nn  # noqa: E402

from dwconv.torch import DepthwiseConv2d, accelerate, depthwise_conv2d, restore  # noqa: E402

SEED = 31
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
formats = pytest.mark.parametrize("memory_format", FORMATS.values(), ids=FORMATS)


class Block(nn.Module):  # type: ignore[misc]
    """An inverted residual: expand, depthwise, project, each with a batch normalization."""

    def __init__(self, channels: int, activation: Any, branches: bool = False) -> None:
        super().__init__()
        wide = 2 * channels
        self.expand = nn.Conv2d(channels, wide, 1, bias=False)
        self.bn1, self.act1 = nn.BatchNorm2d(wide), activation()
        self.depthwise = nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False)
        self.bn2, self.act2 = nn.BatchNorm2d(wide), activation()
        self.project = nn.Conv2d(wide, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.branches = branches

    def forward(self, x: Any) -> Any:
        y = self.act1(self.bn1(self.expand(x)))
        if self.branches and float(y.sum()) > 1e9:  # not for torch.fx
            return x
        y = self.act2(self.bn2(self.depthwise(y)))
        return x + self.bn3(self.project(y))


def model(activation: Any = nn.ReLU6, **options: Any) -> Any:
    torch.manual_seed(SEED)
    made = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), activation(), Block(8, activation, **options),
        nn.Conv2d(8, 16, 3, groups=8), nn.BatchNorm2d(16), activation(),
    )  # fmt: skip
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                tensor.data.normal_()
            module.running_var.uniform_(0.5, 2)
    return made


def pictures() -> Any:
    return torch.randn(2, 3, 17, 19, generator=torch.Generator().manual_seed(SEED + 1))


def assert_close(found: Any, expected: Any) -> None:
    # Sums of at most 72 products through nine layers, in other orders, with folded weights.
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@formats
@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.GELU])
def test_folded(activation: Any, memory_format: Any) -> None:
    m = model(activation).eval().to(memory_format=memory_format)
    x = pictures().to(memory_format=memory_format)
    with torch.inference_mode():
        expected = m(x)
        report = accelerate(m)
        y = m(x)
    assert_close(y, expected)
    assert report.replaced == ["3.depthwise", "4"]
    assert report.fused == ["3.act2", "6"]
    assert report.folded == ["1", "3.bn1", "3.bn2", "3.bn3", "5"]
    assert report.traced
    assert not report.left
    assert not any(isinstance(module, nn.BatchNorm2d) for module in m.modules())
    restore(m)
    with torch.inference_mode():
        assert torch.equal(m(x), expected)
    assert not any(isinstance(module, DepthwiseConv2d) for module in m.modules())


def test_the_activation_is_in_the_operator() -> None:
    m = model().eval()
    accelerate(m)
    assert (m[4].activation, m[3].depthwise.activation) == ("relu6", "relu6")
    assert isinstance(m[6], nn.Identity)


def test_what_fx_cannot_trace() -> None:
    m, x = model(branches=True).eval(), pictures()
    with torch.inference_mode():
        expected = m(x)
        report = accelerate(m)
        assert_close(m(x), expected)
    assert not report.traced
    assert sorted(report.replaced) == ["3.depthwise", "4"]
    assert report.folded == ["1", "5"]


@pytest.mark.parametrize(
    ("name", "depthwise"), [("MobileNetV2", 17), ("MobileNetV3-Large", 15), ("EfficientNet-B0", 16)]
)
def test_whole_networks(name: str, depthwise: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that bench/models.py times. Each is exported, too."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "bench")
    import networks  # of bench/

    m = networks.make(name, torch.channels_last).eval()
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(SEED))
    x = x.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = m(x)
    report = accelerate(m)
    assert report.traced
    assert len(report.replaced) == depthwise
    with torch.no_grad():
        y = m(x)
        # Some fifty layers, each of which rounds sums of up to 1280 products in another order.
        torch.testing.assert_close(y, expected, rtol=0, atol=1e-3 * float(expected.abs().max()))
        torch.testing.assert_close(torch.export.export(m, (x,)).module()(x), y)
    restore(m)
    with torch.inference_mode():
        assert torch.equal(m(x), expected)


def test_training_keeps_parameters_and_batch_normalization() -> None:
    """Ten steps have the losses that PyTorch has."""
    curves = []
    for fast in (False, True):
        m, x = model().train(), pictures()
        optimizer = torch.optim.SGD(m.parameters(), 0.05)
        if fast:
            keys = list(m.state_dict())
            report = accelerate(m)
            assert (len(report.replaced), report.folded, report.fused) == (2, [], [])
            assert list(m.state_dict()) == keys
        target, curve = torch.zeros(2, 16, 7, 8), []
        for _ in range(10):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(m(x), target)
            loss.backward()
            optimizer.step()
            curve.append(float(loss.detach()))
        curves.append(curve)
    assert curves[0][-1] < curves[0][0]
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-3)


def test_gradients_through_a_fused_activation() -> None:
    generator = torch.Generator().manual_seed(SEED)
    x = torch.randn(1, 2, 5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 1, 3, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(4, generator=generator, dtype=torch.float64, requires_grad=True)
    for name in ("relu", "relu6", "leaky_relu", "hard_sigmoid", "hard_silu", "sigmoid", "tanh",
                 "silu", "gelu", "gelu_tanh", "elu"):  # fmt: skip
        assert torch.autograd.gradcheck(
            lambda *t, name=name: depthwise_conv2d(*t, activation=name, alpha=0.3),
            (x, weight, bias),
        ), name


def test_what_is_left() -> None:
    class Standardized(nn.Conv2d):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return super().forward(x) * 2

    m = nn.Sequential(
        Standardized(4, 4, 3, groups=4),
        nn.Conv2d(4, 4, 3, groups=4, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 4, 3, groups=2),
    ).eval()
    x = torch.randn(1, 4, 9, 9)
    with torch.inference_mode():
        expected = m(x)
        report = accelerate(m)
        assert torch.equal(m(x), expected)
    assert not report.replaced
    assert list(report.left) == ["0", "1"]
    assert "Standardized" in report.left["0"]
    assert "reflect" in report.left["1"]
    assert "left: 1: padding_mode is" in str(report)


def test_modules_that_are_used_twice() -> None:
    """A batch normalization or an activation of two convolutions cannot be taken away."""

    class Shared(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Conv2d(4, 4, 3, groups=4, padding=1)
            self.two = nn.Conv2d(4, 4, 3, groups=4, padding=1)
            self.act = nn.ReLU()

        def forward(self, x: Any) -> Any:
            y = self.act(self.one(x))
            return self.act(self.two(y)) + y

    m, x = Shared().eval(), torch.randn(1, 4, 6, 6)
    with torch.inference_mode():
        expected = m(x)
        report = accelerate(m)
        assert_close(m(x), expected)
    assert (len(report.replaced), report.fused) == (2, [])


def test_a_hook_keeps_its_module() -> None:
    m, x = model().eval(), pictures()
    seen: list[Any] = []
    m[6].register_forward_hook(lambda module, given, made: seen.append(made))
    with torch.inference_mode():
        accelerate(m)
        y = m(x)
    assert len(seen) == 1
    assert torch.equal(seen[0], y)


@pytest.mark.parametrize("again", ["deepcopy", "pickle"])
def test_copies_of_an_accelerated_model(again: str) -> None:
    m, x = model().eval(), pictures()
    with torch.inference_mode():
        expected = m(x)
    accelerate(m)
    if again == "deepcopy":
        other = copy.deepcopy(m)
    else:
        buffer = io.BytesIO()
        torch.save(m, buffer)
        buffer.seek(0)
        other = torch.load(buffer, weights_only=False)
    with torch.inference_mode():
        assert torch.equal(other(x), m(x))
        restore(other)
        assert torch.equal(other(x), expected)


def test_compile_and_export() -> None:
    m, x = model().eval(), pictures()
    accelerate(m)
    with torch.no_grad():
        expected = m(x)
        compiled = torch.compile(m, fullgraph=True, backend="aot_eager")
        assert_close(compiled(x), expected)
        assert_close(torch.export.export(m, (x,)).module()(x), expected)


def test_autocast() -> None:
    m, x = model().eval(), pictures()
    accelerate(m)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        y = m(x)
    with torch.inference_mode():
        expected = m(x)
    assert y.dtype == torch.bfloat16
    # Nine layers, each rounded to 8 bits.
    assert float((y.float() - expected).abs().max()) <= 9 * 2**-8 * float(expected.abs().max())


class Pictures(torch.utils.data.Dataset):  # type: ignore[misc]
    """Each item is computed by the operator, in a worker process."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        return depthwise_conv2d(torch.full((1, 8, 32, 32), float(index)), torch.ones(8, 1, 3, 3))


def test_workers_of_a_data_loader() -> None:
    Pictures()[0]  # threads of the parent, which a fork does not have
    loader = torch.utils.data.DataLoader(
        Pictures(), batch_size=None, num_workers=2, multiprocessing_context="fork"
    )
    for index, item in enumerate(loader):
        assert torch.equal(item, torch.full((1, 8, 30, 30), 9.0 * index))


def _one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    m = model().train()
    accelerate(m)
    parallel = nn.parallel.DistributedDataParallel(m)
    nn.functional.mse_loss(
        parallel(pictures()[rank : rank + 1]), torch.zeros(1, 16, 7, 8)
    ).backward()
    torch.save({k: p.grad for k, p in m.named_parameters()}, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(os.name == "nt", reason="gloo's rendezvous by a file")
def test_two_processes(tmp_path: Any) -> None:
    """DistributedDataParallel averages our gradients like PyTorch's."""
    torch.multiprocessing.spawn(_one_of_two, (str(tmp_path),), nprocs=2)
    one, two = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    halves = []
    for rank in (0, 1):
        m = model().train()
        loss = nn.functional.mse_loss(m(pictures()[rank : rank + 1]), torch.zeros(1, 16, 7, 8))
        loss.backward()
        halves.append({k: p.grad for k, p in m.named_parameters()})
    largest = max(float(gradient.abs().max()) for gradient in one.values())
    for name, gradient in one.items():
        assert torch.equal(gradient, two[name])
        expected = (halves[0][name] + halves[1][name]) / 2
        # That of a bias before a batch normalization is zero but for rounding.
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-5 * largest)
