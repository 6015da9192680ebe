"""The walls of the C core: a file includes, calls and names only what is below it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from support import ROOT

CSRC = ROOT / "csrc"

#: The files of csrc/, lowest first; `isa` is the folder. CONTRIBUTING.md has the same list, highest
#: first, and says what each is for. A new one: its place here and a row there.
ORDER = [
    *("build.h", "dwconv.h"),
    *("os_pause.h", "os_threads.h", "thread_pool.h", "thread_pool.c"),
    *("float16.h", "sizes.h"),
    *("cpu.h", "cpu.c", "machine.h", "machine.c"),
    *("float_env.h", "float_env.c", "tuning.h", "tuning.c"),
    *("shared.h", "shared.c"),
    *("desc.h", "desc.c", "blocks.h", "blocks.c"),
    *("activations.h", "slopes.inc", "activations.inc"),
    *("grad_kernels.h", "grad_copy.inc", "grad_z.inc", "grad_kernels.inc"),
    *("nchw_kernels.h", "nchw_kernels.inc"),
    *("nhwc_kernels.h", "nhwc_kernels.inc"),
    *("quantized_kernels.h", "quantized_kernels.inc"),
    *("isa.h", "isa", "isa.c"),
    *("strategy.h", "strategy.c"),
    "activate.c",
    *("problem.h", "problem.c"),
    *("nchw.h", "nchw.c"),
    *("nhwc.h", "nhwc_tiles.c", "nhwc_columns.c", "nhwc_pack.c", "nhwc_masks.c"),
    "nhwc_strategies.c",
    *("nhwc_parts.c", "nhwc_run.c"),
    "nhwc.c",
    *("geometry.h", "plan.h", "plan.c", "parallel.c", "measure.c"),
    *("grad.h", "grad_ring.c", "grad_weights.c", "grad_input.c", "grad_activation.c", "grad.c"),
    *("quantized.h", "quantized.c"),
]

SUFFIXES = {".c", ".h", ".inc"}

#: A function or a constant that other files can see: at the beginning of a line, not static.
DEFINITION = re.compile(
    r"^(?!static|extern|typedef|return)(?:const )?\w+ \*?(dw_\w+)(?:\([^;{}]*\) \{| = )", re.M
)


def room_of(path: Path) -> str:
    """'plan.c'; 'isa' for what is in that folder."""
    return path.relative_to(CSRC).parts[0]


def sources(folder: Path) -> dict[str, str]:
    """Room -> the text of its files, without comments."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in SUFFIXES:
            text = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
            room = path.relative_to(folder).parts[0]
            found[room] = found.get(room, "") + text
    return found


def uses(texts: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """(room, room that it uses, by what): each include, and each name that another file defines."""
    home = {name: room for room, text in texts.items() for name in DEFINITION.findall(text)}
    for room, text in texts.items():
        for included in re.findall(r'^#include "(?:\.\./)?([\w./]+)"', text, re.M):
            used = included if included in texts else room  # of isa, by isa
            if used != room:
                yield room, used, f'#include "{included}"'
        if room.endswith(".h"):
            continue  # declares, and so names, what is above
        for name in sorted(set(re.findall(r"\bdw_\w+", text)) & home.keys()):
            if home[name] != room:
                yield room, home[name], name


def upward(texts: Mapping[str, str], order: list[str]) -> list[str]:
    """What is used from above."""
    rank = {room: i for i, room in enumerate(order)}
    return [
        f"{room} uses {used}, which is not below it: {what}"
        for room, used, what in uses(texts)
        if rank[used] >= rank[room]
    ]


def circle(texts: Mapping[str, str]) -> set[str]:
    """Files that use each other in a circle, a header being one with its .c file's."""

    def unit(room: str) -> str:
        return room.removesuffix(".h") + ".c" if room.removesuffix(".h") + ".c" in texts else room

    graph: dict[str, set[str]] = {unit(room): set() for room in texts}
    for room, used, what in uses(texts):
        if not what.startswith("#") and unit(room) != unit(used):
            graph[unit(room)].add(unit(used))
    while free := {room for room, used in graph.items() if not used & graph.keys()}:
        graph = {room: used for room, used in graph.items() if room not in free}
    return set(graph)


def test_every_file_has_its_place() -> None:
    assert sorted(sources(CSRC)) == sorted(ORDER)


def test_uses_only_what_is_below() -> None:
    assert upward(sources(CSRC), ORDER) == []


def test_no_circle() -> None:
    assert circle(sources(CSRC)) == set()


def test_contributing_has_the_same_order() -> None:
    """Its rows of csrc/, read from the last to the first, name the files in this order."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = [row.split("|")[1] for row in re.findall(r"^\| `csrc/.*", text, re.M)]
    names = [name for row in rows for name in re.findall(r"`(?:csrc/)?([\w.]+)/?`", row)]
    assert names[::-1] == ORDER


# ---- these tests can fail ------------------------------------------------------------------------

GOOD = {
    "low.h": "int dw_low(int a);\n",
    "low.c": '#include "low.h"\nint dw_low(int a) { return a; }\n',
    "high.c": '#include "low.h"\nint dw_high(int a) { return dw_low(a); }\n',
}


@pytest.mark.parametrize(
    ("room", "line", "found"),
    [
        ("low.c", "int dw_up(void) { return dw_high(1); }", "dw_high"),
        ("low.h", '#include "high.h"', '#include "high.h"'),
        ("low.c", "static int (*const up)(int) = dw_high;", "dw_high"),
    ],
)
def test_an_arrow_upward_is_found(room: str, line: str, found: str) -> None:
    order = ["low.h", "low.c", "high.h", "high.c"]
    texts = {**GOOD, "high.h": "int dw_high(int a);\n"}
    assert upward(texts, order) == []
    assert circle(texts) == set()
    texts[room] += line + "\n"
    (fault,) = upward(texts, order)
    assert fault.endswith(found)
    if room == "low.c":
        assert circle(texts) == {"low.c", "high.c"}


def test_definitions_are_seen() -> None:
    """Functions and constants of the core, or the tests above would pass for nothing."""
    arrows = {(room, used) for room, used, what in uses(sources(CSRC)) if what[0] != "#"}
    assert ("plan.c", "nhwc.c") in arrows
    assert ("grad_input.c", "plan.c") in arrows
    assert ("problem.c", "tuning.c") in arrows
    assert ("isa.c", "cpu.c") in arrows
