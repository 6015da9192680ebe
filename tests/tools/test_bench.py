"""What the bench computes by itself: shapes, work, ratios, targets; what it writes; its results."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import re
import statistics
import sys

import numpy as np
import pytest
from support import ROOT

import dwconv

sys.path.insert(0, str(ROOT / "bench"))

import history
import machine
import problem as problems
import report
import run as command
import shapes
import summary
import tables
from driver import RUNTIMES, Figures, Worker
from machine import Machine

ZEN_5 = Machine("AMD EPYC", "avx512", "AuthenticAMD", 26, 2, "Zen 5")
ZEN_1 = Machine("AMD EPYC", "avx2", "AuthenticAMD", 23, 1, "Zen 1")


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
    (tmp_path / "n.txt").write_text(
        "[3x3, a: avx512 >= 2, avx2 >= 1.25]\n8 8 16 3 1 1 1 # c\n[b]\n9 8 16 3x5 2 1 2\n"
    )
    groups = shapes.read("n")
    assert [(group.name, group.targets) for group in groups] == [
        ("3x3, a", {"avx512": 2.0, "avx2": 1.25}),
        ("b", {}),
    ]
    assert [str(shape) for group in groups for shape in group.shapes] == [
        "8x8x16 k3 s1",
        "9x8x16 k3x5 s2 M2",
    ]
    assert shapes.select(groups, "3x3*") == groups[:1]
    assert shapes.select(groups, "*M2") == groups[1:]
    (tmp_path / "n.txt").write_text("8 8 16 3 1 1\n")
    with pytest.raises(ValueError, match=r"n\.txt:1: expected the columns H W C k s d M; received"):
        shapes.read("n")


@pytest.mark.parametrize("heading", ["[a >= 2]", "[a: sse >= 2]", "[a: avx2 > 2]", "[a: ]", "[a"])
def test_a_heading_that_is_none_is_named(heading, tmp_path, monkeypatch):
    monkeypatch.setattr(shapes, "FOLDER", tmp_path)
    (tmp_path / "n.txt").write_text(f"# c\n{heading}\n8 8 16 3 1 1 1\n")
    with pytest.raises(
        ValueError, match=r"n\.txt:2: expected \[name\] or \[name: avx512 >= 2"
    ) as error:
        shapes.read("n")
    assert str(error.value).endswith(f"received {heading!r}")


# ---- machines ------------------------------------------------------------------------------------


CPUINFO = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: {family}
model\t\t: {model}
model name\t: AMD EPYC
stepping\t: 1

processor\t: 1
vendor_id\t: AuthenticAMD
cpu family\t: 99
model\t\t: 99
"""


@pytest.mark.parametrize(
    ("family", "model", "core"),
    [(23, 1, "Zen 1"), (23, 49, "Zen 2"), (25, 1, "Zen 3"), (25, 17, "Zen 4"), (26, 2, "Zen 5")],
)
def test_cpus_of_one_name_are_told_apart(family, model, core):
    text = CPUINFO.format(family=family, model=model)
    found = machine.from_cpuinfo(text, "AMD EPYC", "avx2")
    assert found == Machine("AMD EPYC", "avx2", "AuthenticAMD", family, model, core)
    assert found.slug == f"amd-epyc-family-{family}-model-{model}"
    assert str(found) == f"AMD EPYC ({core}, family {family}, model {model})"


def test_what_is_not_known_of_a_machine_is_left_out():
    unknown = machine.from_cpuinfo(CPUINFO.format(family=31, model=2), "AMD EPYC", "avx512")
    assert (unknown.core, str(unknown)) == ("", "AMD EPYC (family 31, model 2)")
    intel = CPUINFO.replace("AuthenticAMD", "GenuineIntel").format(family=26, model=2)
    assert machine.from_cpuinfo(intel, "Xeon", "avx512").core == ""
    arm = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n"
    found = machine.from_cpuinfo(arm, "ARM implementer 0x41, part 0xd0c", "neon")
    assert found == Machine("ARM implementer 0x41, part 0xd0c", "neon")
    assert found.slug == "arm-implementer-0x41-part-0xd0c"
    assert str(found) == "ARM implementer 0x41, part 0xd0c"


def test_this_machine_is_that_of_the_package():
    found = machine.this_machine()
    assert found.isa == dwconv.isa.available()[-1]
    assert found.name
    assert re.fullmatch(r"[a-z0-9-]+", found.slug)


# ---- runs and their judgement --------------------------------------------------------------------


def figures(*rounds):
    return Figures("", list(rounds), {})


def a_run(host=ZEN_5, advantage=2.0, networks=("targets",), channels_first=False, **options):
    """Each shape of the networks, of channels_first those of 3x3: ours takes 1 s."""
    groups = [group for network in networks for group in shapes.read(network)]
    rows = []
    for group in groups:
        for shape in group.shapes:
            times = {
                "dwconv": figures(1.0, 1.0, 1.0),
                "litert": figures(*[advantage] * 3),
                "roofline": figures(0.5, 0.5, 0.5),
            }
            if host.isa == "avx512":
                times["dwconv-avx2"] = figures(2.0, 2.0, 2.0)
            if not channels_first or shape.kernel_size == (3, 3):
                rows.append(report.Row(group.name, shape, times))
    versions = {name: name for name in rows[0].figures}
    return report.Run(
        host,
        networks,
        channels_first,
        "2026-11-29",
        "abc",
        {"CPU": "c"},
        versions,
        rows,
        [],
        **options,
    )


def test_ratios_are_taken_within_rounds():
    shape = shapes.read("targets")[0].shapes[0]
    times = {
        "dwconv": figures(1.0, 2.0, 1.0),  # the machine was slow in the second round
        "litert": figures(3.0, 6.0, 3.0),
        "torch": figures(4.0, 4.0, 4.0),
        "roofline": figures(0.5, 1.0, 0.5),
    }
    row = report.Row("a class", shape, times)
    assert row.best_peer == "litert"
    assert (row.advantage(), row.limit(), row.share()) == (3.0, 6.0, 0.5)
    assert math.isclose(summary.geometric_mean([2, 8]), 4)


@pytest.mark.parametrize("host", [ZEN_5, ZEN_1], ids=["avx512", "avx2"])
def test_a_run_is_judged_by_the_column_of_its_machine(host):
    run = a_run(host, advantage=2.05)
    found = {line.name: line for line in summary.lines(run)}
    for group in shapes.read("targets"):
        line = found[group.name]
        assert set(line.targets) == {"avx512", "avx2"}
        assert math.isclose(line.value, 2.05)
        assert line.verdict(host) == ("met" if group.targets[host.isa] < 2.05 else "missed")
    assert found["all shapes"].verdict(host) == ("missed" if host is ZEN_5 else "met")
    assert found["median share of the roofline"].verdict(host) == "missed"
    titles, rows = summary.table(list(found.values()), host)
    counted = {"avx512": "target, AVX-512", "avx2": "target, AVX2 only"}[host.isa]
    assert [title for title in titles if title.endswith("(counts here)")] == [
        f"{counted} (counts here)"
    ]
    assert {len(row) for row in rows} == {len(titles)}
    assert f"'{counted}'" in summary.notes(run)[0]
    assert ("dwconv-avx2, all shapes" in found) == (host is ZEN_5)
    if host is ZEN_5:
        assert math.isclose(found["dwconv-avx2, all shapes"].value, 1.025)
        assert found["dwconv-avx2, all shapes"].verdict(host) == "missed"


def test_the_targets_are_those_of_the_project():
    wanted = {
        "3x3 s1 in L2": (2.1, 1.9),
        "3x3 s1 7x7 maps": (3.0, 1.9),
        "3x3 s2": (1.5, 1.4),
        "larger than L2": (1.5, 1.6),
        "5x5": (1.9, 2.4),
        "7x7": (1.6, 2.3),
        "multiplier": (5.0, 3.5),
        "small or odd": (3.0, 3.0),
    }
    found = {line.name: line.targets for line in summary.lines(a_run())}
    for name, (wide, narrow) in wanted.items():
        assert found[name] == {"avx512": wide, "avx2": narrow}
    assert found["all shapes"] == {"avx512": 2.15, "avx2": 2.0}
    assert found[f"the least: {shapes.read('targets')[0].shapes[0]}"] == {
        "avx512": 1.1,
        "avx2": 1.05,
    }
    assert found["median share of the roofline"] == {"avx512": 0.75, "avx2": 0.65}
    assert found["dwconv-avx2, all shapes"] == {"avx512": 1.5}


def test_a_part_of_the_shapes_is_not_judged_as_a_whole():
    whole = a_run()
    # All of the first class, and one shape of the second.
    part = dataclasses.replace(whole, rows=whole.rows[:6])
    found = {line.name: line.targets for line in summary.lines(part)}
    assert found.pop(whole.rows[0].group)
    assert "these 6 shapes" in found
    assert "all shapes" not in found
    assert not any(found.values())
    # channels_first has the shapes of 3x3, and targets over all of these.
    found = {line.name: line.targets for line in summary.lines(a_run(channels_first=True))}
    assert found["all shapes"] == {"avx512": 2.0, "avx2": 2.0}
    assert not found["3x3 s2"]
    # Networks have no targets.
    found = {line.name: line.targets for line in summary.lines(a_run(networks=("mobilenet_v1",)))}
    assert "all shapes" in found
    assert not any(found.values())


def test_no_column_counts_where_no_targets_are_set():
    run = a_run(Machine("ARM", "neon"))
    assert {line.verdict(run.machine) for line in summary.lines(run)} == {"-"}
    assert summary.notes(run)[0] == "No targets are set for machines with NEON."


def test_shapes_lost_are_named():
    run = a_run(advantage=0.5)
    assert list(summary.lost(run.rows)) == [str(row.shape) for row in run.rows]
    assert "28x28x256 k3 s1 (0.50)" in summary.notes(run)[1]
    assert summary.notes(a_run())[1] == "Shapes lost: none."


# ---- what is written -----------------------------------------------------------------------------


def test_a_run_comes_back_from_its_json():
    run = a_run(partial="--only", networks=("targets", "mobilenet_v1"))
    again = report.from_json(report.to_json(run))
    assert again == run
    assert run.stem == "amd-epyc-family-26-model-2-targets-mobilenet_v1-part"
    assert dataclasses.replace(run, partial="", channels_first=True).stem.endswith(
        "-channels-first"
    )


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    report.write(path, "old")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(path), "replace", interrupted)
    with contextlib.suppress(KeyboardInterrupt):
        report.write(path, "new")
    assert path.read_text() == "old"


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """bench/results, history and README, all in tmp_path."""
    results = tmp_path / "results"
    results.mkdir()
    readme = tmp_path / "README.md"
    readme.write_text("# a\n", encoding="utf-8")
    monkeypatch.setattr(command, "RESULTS", results)
    monkeypatch.setattr(history, "HISTORY", tmp_path / "history.jsonl")
    monkeypatch.setattr(history, "PICTURE", results / "history.svg")
    monkeypatch.setattr(tables.write_all, "__defaults__", (results, readme))
    return tmp_path


@pytest.mark.slow
def test_a_whole_run_is_saved_with_history_and_tables(folders):
    pytest.importorskip("matplotlib")
    for run in (a_run(), a_run(ZEN_1, 1.5), a_run(ZEN_1, 1.5, channels_first=True)):
        command.save(run)
    names = {path.name for path in (folders / "results").iterdir()}
    stems = [
        "amd-epyc-family-26-model-2-targets",
        "amd-epyc-family-23-model-1-targets",
        "amd-epyc-family-23-model-1-targets-channels-first",
    ]
    expected = {f"{stem}.{end}" for stem in stems for end in ("json", "md", "svg")}
    assert names == expected | {"README.md", "history.svg"}
    lines = history.read(history.HISTORY)
    assert [(line["machine"]["family"], line["layout"]) for line in lines] == [
        (26, "channels_last"),
        (23, "channels_last"),
        (23, "channels_first"),
    ]
    assert lines[0]["classes"] == {group.name: 2.0 for group in shapes.read("targets")}
    assert lines[0]["all, dwconv-avx2"] == 1.0
    assert lines[1]["all, dwconv-avx2"] is None
    table = (folders / "results" / "README.md").read_text(encoding="utf-8")
    rows = [row.split(" | ")[1:4] for row in table.splitlines() if row.startswith("| [")]
    assert rows == [
        ["AVX2", "channels_last", "2026-11-29 abc"],
        ["AVX2", "channels_first", "2026-11-29 abc"],
        ["AVX-512", "channels_last", "2026-11-29 abc"],
        ["AVX2 kernels (machine has AVX-512)", "channels_last", "2026-11-29 abc"],
    ]
    assert "Missing: no machine with NEON" in table
    assert "Missing: no machine with AVX2" not in table
    picture = history.PICTURE.read_text(encoding="utf-8")
    for text in (str(ZEN_5), str(ZEN_1), "3x3 s1 7x7 maps", "channels_first", "AVX2 only"):
        assert text in picture
    # Another run of the same machine: one more line, the other lines as they were.
    before = history.HISTORY.read_text(encoding="utf-8")
    command.save(a_run())
    after = history.HISTORY.read_text(encoding="utf-8")
    assert after.startswith(before)
    assert len(after.splitlines()) == 4


@pytest.mark.slow
def test_a_part_of_a_run_replaces_nothing(folders):
    pytest.importorskip("matplotlib")
    command.save(a_run())
    kept = {p: p.read_bytes() for p in folders.rglob("*") if p.is_file()}
    command.save(a_run(advantage=9.0, partial="--only"))
    assert {p: p.read_bytes() for p in kept} == kept
    new = {p.name for p in folders.rglob("*") if p.is_file() and p not in kept}
    assert new == {f"{a_run().stem}-part.{end}" for end in ("json", "md", "svg")}
    # Nor does it get into the table when that is made anew.
    tables.write_all()
    assert (folders / "results" / "README.md").read_bytes() == kept[
        folders / "results" / "README.md"
    ]


def test_a_history_without_runs_is_not_drawn(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(sys, "argv", ["history.py", "--out", str(tmp_path / "a.svg")])
    monkeypatch.setattr(history, "HISTORY", tmp_path / "history.jsonl")
    for text, expected in (
        (None, "No such file"),
        ("", "no whole run"),
        ("{}", "jsonl:1: expected"),
    ):
        if text is not None:
            history.HISTORY.write_text(text)
        with pytest.raises(SystemExit, match=expected):
            history.main()
    assert not (tmp_path / "a.svg").exists()


def test_a_line_of_the_history_that_is_none_is_named(tmp_path):
    path = tmp_path / "history.jsonl"
    history.append(a_run(), path)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"date": "2026')
    with pytest.raises(ValueError, match=r"history\.jsonl:2: expected a line of make bench"):
        history.read(path)


@pytest.mark.parametrize(
    ("options", "environment", "missing", "why"),
    [
        ([], "", [], ""),
        (["--channels-first"], "", [], ""),
        (["--only", "ours"], "", [], "--only"),
        (["--shapes", "3x3*"], "", [], "--shapes"),
        (["--rounds", "3"], "", [], ""),
        (["--rounds", "1", "--seconds", "0.1"], "", [], "--rounds, --seconds"),
        (["--quick"], "", [], "--quick, --placements, --rounds, --seconds"),
        ([], "avx2", [], "DWCONV_ISA"),
        ([], "", ["torch"], "torch did not start"),
    ],
)
def test_what_is_a_whole_run(options, environment, missing, why, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run.py", *options])
    monkeypatch.setenv("DWCONV_ISA", environment)
    assert command.why_partial(command.parse(), missing) == why


def test_a_quick_run_is_not_saved(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["run.py", "--quick", "--save"])
    with pytest.raises(SystemExit) as error:
        command.parse()
    assert error.value.code == 2
    assert "--quick --save: expected one of them" in capsys.readouterr().err


def test_our_avx2_kernels_are_timed_apart_where_they_are_not_the_widest():
    assert "dwconv-avx2" in command.chosen_runtimes(None, False, ZEN_5)
    assert "dwconv-avx2" not in command.chosen_runtimes(None, False, ZEN_1)
    assert command.chosen_runtimes("ours,torch", False, ZEN_5) == ["dwconv", "torch"]


def test_a_quick_run_from_end_to_end(folders, monkeypatch, capsys):
    arguments = ["--quick", "--only", "ours,dwconv-portable", "--shapes", "8x8x16*"]
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments, "--seconds", "0.001"])
    monkeypatch.setattr(command, "CACHE", folders / "cache")
    assert command.main() == 0
    told = capsys.readouterr().out
    assert told.count(command.QUICK) == 2
    assert told.splitlines()[0] == command.QUICK
    assert str(machine.this_machine()) in told
    assert re.search(r"^8x8x16 k3 s1 +\d+\.\d\d +\d+\.\d\d +- +- +-$", told, re.MULTILINE)
    assert not any((folders / "results").iterdir())
    assert not history.HISTORY.exists()


def test_a_run_where_nothing_could_be_measured_says_why(folders, monkeypatch, capsys):
    def refuse(worker, **_):
        raise RuntimeError(f"{worker.name}: no such kernel")

    arguments = ["--quick", "--only", "ours,dwconv-portable", "--shapes", "8x8x16*"]
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    monkeypatch.setattr(command, "CACHE", folders / "cache")
    monkeypatch.setattr(Worker, "ask", refuse)
    assert command.main() == 1
    told = capsys.readouterr().out
    for name in ("dwconv", "dwconv-portable"):
        assert re.search(rf"^not measured: 8x8x16 .*: {name}: no such kernel$", told, re.MULTILINE)


# ---- the results that are in the repository ------------------------------------------------------

RESULTS = sorted(
    path for path in tables.RESULTS.glob("*.json") if not path.name.startswith("service-")
)


def test_tables_are_what_the_json_gives():
    """Where this fails, `python bench/tables.py` makes them."""
    for path, text in tables.made(tables.RESULTS).items():
        assert path.read_text(encoding="utf-8") == text, path
    text = tables.with_figures(tables.README, tables.RESULTS)
    assert tables.README.read_text(encoding="utf-8") == text
    assert text.count("<!-- figures: ") == text.count("<!-- end of figures -->") == 1


@pytest.mark.parametrize("path", RESULTS, ids=[path.stem for path in RESULTS])
def test_results_are_named_after_their_machine_and_agree_with_their_rounds(path):
    content = json.loads(path.read_text(encoding="utf-8"))
    run = report.from_json(path.read_text(encoding="utf-8"))
    assert run.stem == path.stem
    assert path.with_suffix(".svg").exists()
    assert set(run.versions) <= set(RUNTIMES)
    by_class, lost = {}, []
    for row in content["rows"]:
        seconds = {name: statistics.median(f["rounds"]) for name, f in row["figures"].items()}
        best = min((name for name in seconds if RUNTIMES[name].is_peer), key=seconds.get)
        assert best == row["best_peer"]
        pairs = zip(row["figures"][best]["rounds"], row["figures"]["dwconv"]["rounds"], strict=True)
        ratio = statistics.median(theirs / ours for theirs, ours in pairs)
        assert math.isclose(ratio, row["best_peer_to_ours"])
        by_class.setdefault(row["group"], []).append(ratio)
        lost += [row["shape"]] * (ratio < 1)
    table = (path.parent / "README.md").read_text(encoding="utf-8").splitlines()
    if run.networks != ("targets",):  # no row of its own: a link, and a table in its own file
        assert any(f"]({path.stem}.md)" in line for line in table)
        ratio = statistics.geometric_mean(r for ratios in by_class.values() for r in ratios)
        assert f"{ratio:.2f}" in path.with_suffix(".md").read_text(encoding="utf-8")
        return
    kind = machine.ISA_NAMES[run.machine.isa]
    (found,) = [r for r in table if f"]({path.stem}.md) | {kind} |" in r]
    cells = [cell.strip() for cell in found.strip("|").split("|")]
    titles = next(r for r in table if r.startswith("| machine")).strip("|").split("|")
    named = dict(zip((title.strip() for title in titles), cells, strict=True))
    for name, ratios in by_class.items():
        assert named[name] == f"{statistics.geometric_mean(ratios):.2f}"
    everything = [ratio for ratios in by_class.values() for ratio in ratios]
    assert named["all shapes"] == f"{statistics.geometric_mean(everything):.2f}"
    assert named["the least"] == f"{min(everything):.2f}"
    assert re.findall(r"([^,( ][^,(]*) \(", named["shapes lost"]) == lost


def test_the_history_has_a_line_for_each_of_the_results():
    lines = history.read(history.HISTORY)
    for path in RESULTS:
        run = report.from_json(path.read_text(encoding="utf-8"))
        wanted = history.record(run)
        assert any(
            all(line[key] == wanted[key] for key in wanted if key != "commit") for line in lines
        ), path
