"""`accelerate`: the depthwise convolutions of a model of PyTorch replaced in place, with what comes
after them; `restore` undoes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .modules import DepthwiseConv2d

Model = TypeVar("Model", bound=nn.Module)

#: Where a model keeps what was in it before.
_ORIGINALS = "_dwconv_originals"

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass
class Report:
    """What `accelerate` has done, as names of modules.

    replaced   depthwise convolutions that dwconv computes now
    folded     batch normalizations that became part of the convolution before them, of any kind
    fused      activations that became part of a depthwise convolution
    left       depthwise convolutions that stay as they are, and why
    traced     whether torch.fx could follow the model. If not, only modules that are next to each
               other in a `torch.nn.Sequential` are folded and fused
    """

    replaced: list[str] = field(default_factory=list)
    folded: list[str] = field(default_factory=list)
    fused: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    traced: bool = True

    def __str__(self) -> str:
        lines = [
            f"{len(self.replaced)} depthwise convolutions replaced, {len(self.fused)} activations "
            f"fused into them, {len(self.folded)} batch normalizations folded"
        ]
        if not self.traced:
            lines.append("torch.fx could not trace the model: only Sequential was searched")
        lines += [f"left: {name}: {why}" for name, why in self.left.items()]
        return "\n".join(lines)


def accelerate(model: nn.Module, fold: bool = True) -> Report:
    """Lets dwconv compute the depthwise convolutions of a model on the CPU. The model is changed.

    Each `torch.nn.Conv2d` with groups == in_channels becomes a `DepthwiseConv2d` with the same
    parameters, so optimizers, hooks and state_dicts remain valid.

    fold: whether, besides, batch normalizations in eval mode become part of the convolution before
        them (of any kind), and ReLU, ReLU6, SiLU, Hardswish, GELU and others part of a depthwise
        one. Those modules become `torch.nn.Identity`, convolutions that take one up have weights of
        their own. Modules in training mode keep their batch normalization and activation. A model
        that is to be trained, or whose state_dict is to be saved, takes fold=False, or `restore`
        first.

    Returns a `Report`; `print` it. What cannot be replaced stays as it is.
    """
    report, originals = Report(), list(getattr(model, _ORIGINALS, []))
    modules = dict(model.named_modules())
    if fold:
        for names in list(_chains(model, report)):
            _fold(model, names, modules, report, originals)
    for name, module in list(model.named_modules()):
        if not _is_depthwise(module) or isinstance(module, DepthwiseConv2d):
            continue
        why = _why_not(module)
        if why:
            report.left[name] = why
            continue
        _become(module)
        originals.append((name, None))
        report.replaced.append(name)
    setattr(model, _ORIGINALS, originals)
    return report


def restore(model: nn.Module) -> None:
    """Undoes `accelerate`: all modules are those that were there before, with their weights. What
    was trained meanwhile in folded modules is lost with them.
    """
    for name, original in reversed(getattr(model, _ORIGINALS, [])):
        if original is not None:
            _set(model, name, original)
        elif isinstance(module := _get(model, name), DepthwiseConv2d):
            module.__class__ = nn.Conv2d
    if hasattr(model, _ORIGINALS):
        delattr(model, _ORIGINALS)


# ---- which convolutions --------------------------------------------------------------------------


def _is_depthwise(module: Any) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1


def _why_not(module: nn.Conv2d) -> str:
    """'' if dwconv can compute a depthwise convolution as it is."""
    if type(module) is not nn.Conv2d:
        return f"it is a {type(module).__name__}, whose forward may be another"
    if module.padding_mode != "zeros":
        return f"padding_mode is {module.padding_mode!r}"
    if module.weight.dtype not in _DTYPES:
        return f"its weight is {module.weight.dtype}"
    if module.weight.device.type != "cpu":
        return f"its weight is on {module.weight.device}"
    if hasattr(module, "parametrizations"):
        return "it is parametrized"
    return ""


def _become(module: nn.Conv2d, activation: str = "linear", alpha: float = 0.0) -> None:
    """A depthwise Conv2d as one of ours: the same object, with the same parameters."""
    module.__class__ = DepthwiseConv2d
    module.activation, module.alpha = activation, alpha  # type: ignore[assignment]


def _activation(module: Any) -> tuple[str, float] | None:
    """(name, alpha) of an activation that can be fused."""
    kind = type(module)
    if kind is nn.GELU:
        return ("gelu" if module.approximate == "none" else "gelu_tanh"), 0.0
    if kind is nn.LeakyReLU:
        return "leaky_relu", float(module.negative_slope)
    if kind is nn.ELU:
        return "elu", float(module.alpha)
    name = _NAMES.get(kind)
    return None if name is None else (name, 0.0)


_NAMES: dict[Any, str] = {
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.SiLU: "silu",
    nn.Hardswish: "hard_silu",
    nn.Hardsigmoid: "hard_sigmoid",
    nn.Sigmoid: "sigmoid",
    nn.Tanh: "tanh",
}


# ---- what follows what ---------------------------------------------------------------------------


def _chains(model: nn.Module, report: Report) -> Iterator[list[str]]:
    """Names of modules that follow each other: a convolution, then what alone takes its result."""
    try:
        graph = fx.Tracer().trace(model)
    except Exception:  # whatever a model does that cannot be traced
        report.traced = False
        yield from _in_sequentials(model)
        return
    calls: dict[str, int] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            calls[str(node.target)] = calls.get(str(node.target), 0) + 1
    for node in graph.nodes:
        if node.op != "call_module" or not isinstance(
            model.get_submodule(str(node.target)), nn.Conv2d
        ):
            continue
        names: list[str] = []
        at = node
        while at.op == "call_module" and calls[str(at.target)] == 1 and len(names) < 3:
            names.append(str(at.target))
            users = list(at.users)
            if len(users) != 1 or users[0].args[:1] != (at,):
                break
            at = users[0]
        if names:
            yield names


def _in_sequentials(model: nn.Module) -> Iterator[list[str]]:
    uses: dict[int, int] = {}
    for _, module in model.named_modules(remove_duplicate=False):
        uses[id(module)] = uses.get(id(module), 0) + 1
    for name, module in model.named_modules():
        if type(module).forward is not nn.Sequential.forward:
            continue
        children = [f"{name}.{key}" if name else key for key, _ in module.named_children()]
        for i, child in enumerate(children):
            if isinstance(model.get_submodule(child), nn.Conv2d):
                chain = children[i : i + 3]
                if all(uses[id(model.get_submodule(each))] == 1 for each in chain):
                    yield chain


def _fold(
    model: nn.Module,
    names: list[str],
    modules: dict[str, nn.Module],
    report: Report,
    originals: list[tuple[str, nn.Module | None]],
) -> None:
    """A convolution with what follows it, as far as that can be part of it."""
    name, *rest = names
    convolution = modules[name]
    assert isinstance(convolution, nn.Conv2d)
    if type(convolution) is not nn.Conv2d or convolution.training or _has_hooks(convolution):
        return
    ours = _is_depthwise(convolution) and not _why_not(convolution)
    made: Any = convolution
    taken: list[str] = []
    if rest and _can_fold(modules[rest[0]], convolution):
        made = fuse_conv_bn_eval(convolution, modules[rest[0]])
        report.folded.append(rest[0])
        taken.append(rest.pop(0))
    found = _activation(modules[rest[0]]) if ours and rest else None
    if found is not None and not _has_hooks(modules[rest[0]]):
        if made is convolution:
            made = _copy_with_the_parameters(convolution)
        report.fused.append(rest[0])
        taken.append(rest.pop(0))
    else:
        found = None
    if made is convolution:
        return
    if ours:
        _become(made, *(found or ("linear", 0.0)))
        report.replaced.append(name)
    for other in taken:
        originals.append((other, modules[other]))
        _set(model, other, nn.Identity())
    originals.append((name, convolution))
    _set(model, name, made)


def _can_fold(module: nn.Module, convolution: nn.Conv2d) -> bool:
    return (
        type(module) is nn.BatchNorm2d
        and not module.training
        and module.track_running_stats
        and module.running_var is not None
        and module.running_var.dtype == convolution.weight.dtype
        and not hasattr(convolution, "parametrizations")
        and not _has_hooks(module)
    )


def _has_hooks(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def _copy_with_the_parameters(convolution: nn.Conv2d) -> nn.Conv2d:
    """Another module with the same parameter objects."""
    copy: nn.Conv2d = convolution.__class__.__new__(convolution.__class__)
    copy.__dict__.update(convolution.__dict__)
    copy._parameters = dict(convolution._parameters)
    return copy


def _get(model: nn.Module, name: str) -> nn.Module | None:
    try:
        return model.get_submodule(name)
    except AttributeError:
        return None


def _set(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    model.get_submodule(parent)._modules[leaf] = module
