"""The graph in a config: who takes whose output, in the spellings of every Keras."""

from __future__ import annotations

import re
from typing import Any

import pytest

from dwconv.formats.graph import Call, Graph


def layer(name: str, nodes: list[Any], kind: str = "Layer", **more: Any) -> dict[str, Any]:
    """An item of a functional model."""
    return {"class_name": kind, "config": {"name": name}, "inbound_nodes": nodes, **more}


def old(*sources: Any, **arguments: Any) -> list[Any]:
    """A call as Keras 2 writes it: of the outputs of these layers, by name or whole."""
    given = [source if isinstance(source, list) else [source, 0, 0] for source in sources]
    return [[*source, arguments] for source in given]


def tensor(name: str, call: int = 0, output: int = 0) -> dict[str, Any]:
    """A tensor as Keras 3 writes it."""
    history = [name, call, output]
    return {"class_name": "__keras_tensor__", "config": {"shape": [], "keras_history": history}}


def new(*arguments: Any, **named: Any) -> dict[str, Any]:
    """A call as Keras 3 writes it."""
    return {"args": list(arguments), "kwargs": named}


def model(
    layers: list[dict[str, Any]], inputs: Any, outputs: Any, name: str = "model", **more: Any
) -> dict[str, Any]:
    """A functional model; inputs and outputs by name, or as Keras writes them."""
    known = {item["config"]["name"] for item in layers}
    items = [layer(one, [], "InputLayer") for one in inputs if one not in known]
    config = {
        "name": name,
        "layers": items + layers,
        "input_layers": [[one, 0, 0] for one in inputs] if isinstance(inputs, list) else inputs,
        "output_layers": [[one, 0, 0] if isinstance(one, str) else one for one in outputs],
    }
    return {"class_name": "Functional", "config": config, **more}


def chain(*names: str) -> dict[str, Any]:
    """A Sequential."""
    layers = [{"class_name": "Layer", "config": {"name": name}} for name in names]
    return {"class_name": "Sequential", "config": {"name": "chain", "layers": layers}}


def call_of(graph: Graph, path: str) -> Call:
    """The only call of a layer."""
    names = tuple(path.split("/"))
    assert graph.lost(names) is None
    (call,) = graph.calls(names)
    return call


def users(graph: Graph, path: str, output: int = 0) -> list[str]:
    """The layers that take an output of a layer, and 'output' if the model returns it."""
    value = call_of(graph, path).output(output)
    return ["/".join(use.names) for use in value.uses] + ["output"] * value.is_output


def test_chain() -> None:
    for document in (chain("a", "b"), {"class_name": "Sequential", "config": chain("a", "b")}):
        if "config" in document["config"]:
            document["config"] = document["config"]["config"]["layers"]  # Keras 2.2.4
        graph = Graph(document)
        assert users(graph, "a") == ["b"]
        assert users(graph, "b") == ["output"]
        assert len(call_of(graph, "a").tensors) == 1


@pytest.mark.parametrize("write", ["old", "new", "bare"])
def test_functional(write: str) -> None:
    def call(*sources: str, **arguments: Any) -> Any:
        if write == "new":
            first = tensor(sources[0])
            return new([tensor(s) for s in sources] if len(sources) > 1 else first, **arguments)
        node = old(*sources, **arguments)
        return node[0] if write == "bare" and len(sources) == 1 else node

    graph = Graph(
        model(
            [
                layer("sum", [call("b", "a")]),  # before what it needs
                layer("a", [call("in")]),
                layer("b", [call("a", training=True)]),
                layer("end", [call("sum")]),
                layer("unused", []),
            ],
            ["in"],
            ["end", "b"],
        )
    )
    assert users(graph, "a") == ["sum", "b"] or users(graph, "a") == ["b", "sum"]
    assert users(graph, "b") == ["sum", "output"]
    assert users(graph, "sum") == ["end"]
    assert users(graph, "end") == ["output"]
    assert call_of(graph, "b").arguments == {"training": True}
    assert call_of(graph, "sum").tensors == [
        call_of(graph, "b").output(),
        call_of(graph, "a").output(),
    ]
    assert graph.calls(("unused",)) == []


def test_tensors_among_the_arguments() -> None:
    """y= of TensorFlow's functions, a constant in front, keywords of Keras 3."""
    graph = Graph(
        model(
            [
                layer("a", [old("in")]),
                layer("times", [["a", 0, 0, {"y": ["b", 0, 0], "name": None}]]),
                layer("b", [["_CONSTANT_VALUE", -1, 3.0, {"y": ["a", 0, 0], "name": None}]]),
                layer("c", [new(tensor("times"), 2.5, mask=tensor("b"), axis=-1)]),
            ],
            ["in"],
            ["c"],
        )
    )
    a, b, times = (call_of(graph, name).output() for name in ("a", "b", "times"))
    assert call_of(graph, "times").tensors == [a, b]
    assert call_of(graph, "b").tensors == [a]
    assert call_of(graph, "b").arguments == {"0": 3.0, "name": None}
    assert call_of(graph, "c").tensors == [times, b]
    assert call_of(graph, "c").arguments == {"1": 2.5, "axis": -1}


def test_several_outputs_and_calls() -> None:
    graph = Graph(
        model(
            [
                layer("split", [old("in")]),
                layer("a", [old(["split", 0, 1])]),
                layer("shared", [old("a"), old(["split", 0, 0])]),
                layer("b", [old(["shared", 1, 0])]),
            ],
            ["in"],
            ["b"],
        )
    )
    assert users(graph, "split", 1) == ["a"]
    assert users(graph, "split", 0) == ["shared"]
    by_input = {call.tensors[0]: call.output().uses for call in graph.calls(("shared",))}
    assert by_input == {
        call_of(graph, "a").output(): [],
        call_of(graph, "split").output(): graph.calls(("b",)),
    }


@pytest.mark.parametrize("number", [0, 1])  # Keras counts the call that made the model, or not
def test_a_model_within_the_model(number: int) -> None:
    inner = model(
        [layer("deep", [old("x")]), layer("other", [old("y")])], ["x", "y"], ["other", "deep"]
    )
    inner["config"]["name"] = "inner"
    graph = Graph(
        model(
            [
                layer("a", [old("in")]),
                {**inner, "inbound_nodes": [old("a", "in")]},
                layer("b", [old(["inner", number, 1])]),
                {**chain("c", "d"), "inbound_nodes": [old("b")]},
            ],
            ["in"],
            [["chain", number, 0], ["inner", number, 0]],
        )
    )
    assert users(graph, "a") == ["inner/deep"]
    assert users(graph, "inner/deep") == ["b"]
    assert users(graph, "inner/other") == ["output"]
    assert users(graph, "b") == ["chain/c"]
    assert users(graph, "chain/d") == ["output"]


def test_inputs_by_name() -> None:
    def graph(call: Any, inputs: Any) -> Graph:
        layers = [layer("left", [old("x")]), layer("right", [old("y")])]
        inner = model(layers, ["x", "y"], ["left"], "inner")
        inner["config"]["input_layers"] = inputs
        outer = [layer("a", [old("in")]), layer("b", [old("in")]), {**inner, "inbound_nodes": call}]
        return Graph(model(outer, ["in"], ["inner"]))

    plain = [["x", 0, 0], ["y", 0, 0]]
    keyed = {"y": ["y", 0, 0], "x": ["x", 0, 0]}
    by_key = {"y": tensor("b"), "x": tensor("a")}
    for call in (new(by_key), {"y": ["b", 0, 0, {}], "x": ["a", 0, 0, {}]}):
        for inputs in (plain, keyed):
            found = graph([call], inputs)
            assert users(found, "a") == ["inner/left"]
            assert users(found, "b") == ["inner/right"]
    for call, inputs in (
        (new({"p": tensor("a"), "q": tensor("b")}), plain),  # other names
        (new([tensor("a"), tensor("b")]), keyed),  # which first?
        (new(tensor("a")), plain),  # one is missing
    ):
        found = graph([call], inputs)
        assert "the model 'inner' is not known" in str(found.lost(("inner", "left")))
        assert users(found, "a") == ["inner"]
        assert found.lost(("a",)) is None


def test_a_model_that_is_called_twice() -> None:
    inner = model([layer("deep", [old("x")])], ["x"], ["deep"], "inner")
    graph = Graph(
        model(
            [
                {**inner, "inbound_nodes": [old("in"), old("a")]},
                layer("a", [old(["inner", 1, 0])]),
                layer("b", [old(["inner", 2, 0])]),
            ],
            ["in"],
            ["b"],
        )
    )
    assert graph.lost(("inner", "deep")) == "the model 'inner' is called 2 times"
    assert users(graph, "a") == ["inner"]
    assert users(graph, "b") == ["output"]


def test_many_models_that_are_called_twice() -> None:
    """Followed for each call, 30 models in one another would be a thousand million calls."""
    inner = model([layer("deep", [old("x")])], ["x"], ["deep"], "m0")
    for depth in range(30):
        calls = [old("x"), old([inner["config"]["name"], 0, 0])]
        name = inner["config"]["name"]
        inner = model(
            [{**inner, "inbound_nodes": calls}], ["x"], [[name, 1, 0]], name=f"m{depth + 1}"
        )
    assert "is called 2 times" in str(Graph(inner).lost(("m29", "m28", "m27")))


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({**chain("a"), "class_name": "Mine"}, "its class, 'Mine', may call its layers in any way"),
        ({**chain("a"), "module": "mine"}, "its class, 'Sequential', may call"),
        (model([layer("a", [old("b")])], ["in"], ["a"]), "there is no layer 'b'"),
        (model([layer("a", [old(["in", 4, 0])])], ["in"], ["a"]), "nothing makes the inputs of"),
        (model([layer("a", [old("a")])], ["in"], ["a"]), "nothing makes the inputs of 'a'"),
        (model([layer("a", [old("in")])], ["in"], [["a", 3, 0]]), r"nothing makes \['a', 3, 0\]"),
        (model([layer("a", 5)], ["in"], ["a"]), "'a' has no list of inbound_nodes"),
        (
            {"class_name": "Functional", "config": [layer("a", [])]},
            "expected a dict as config; received a list",
        ),
        (
            model([layer("a", [{"args": [], "kwargs": 5}])], ["in"], ["a"]),
            "expected the arguments of a call; received 5",
        ),
        (model([layer("a", [old(["in", 0, 0.5])])], ["in"], ["a"]), "expected the number of an"),
        (
            model([{"class_name": "Layer", "config": {"name": "a"}}], ["in"], ["a"]),
            "'a' has no list of inbound_nodes",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_followed(document: dict[str, Any], reason: str) -> None:
    lost = Graph(document).lost(("a",))
    assert lost is not None
    assert re.search(rf"the graph of the model is not known: .*{reason}", lost), lost
