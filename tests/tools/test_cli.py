"""The command line: info, check, errors. The demo has test_demo.py."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import PYTHON, patient

import dwconv
from dwconv import isa
from dwconv.__main__ import main
from dwconv.cli import check, demo, info, progress


def run_module(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PYTHON, "-m", "dwconv", *arguments],
        capture_output=True,
        text=True,
        timeout=patient(120),
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )


# ---- usage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["info", "extra"], ["check", "--nonsense"], ["info", "--isa", "x"]]
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "error:" in err


def test_no_command_is_a_question_for_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out, err = capsys.readouterr()
    assert "usage: dwconv" in out
    assert err == ""


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"dwconv {dwconv.__version__}\n"


def test_module_as_a_program() -> None:
    result = run_module("--version")
    assert (result.returncode, result.stdout) == (0, f"dwconv {dwconv.__version__}\n")
    result = run_module("nonsense")
    assert result.returncode == 2
    assert "invalid choice: 'nonsense'" in result.stderr
    assert "Traceback" not in result.stderr


# ---- info ----------------------------------------------------------------------------------------


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    for fact in (dwconv.__version__, np.__version__, isa.default(), isa.compiler()):
        assert fact in out
    facts = info.facts()
    assert facts["ISAs available"].split() == list(isa.available())
    assert set(facts["ISAs compiled"].split()) >= set(isa.available())
    for name, usable in isa.cpu_features().items():
        assert (name in facts["features"].split()) == usable


def test_info_tells_who_chose_the_isa() -> None:
    result = run_module("info", DWCONV_ISA="portable")
    assert result.returncode == 0
    assert "ISA chosen      portable (by DWCONV_ISA)\n" in result.stdout


def test_info_tells_the_settings() -> None:
    result = run_module(
        "info", DWCONV_NUM_THREADS="3", DWCONV_DENORMALS="ieee", DWCONV_MEMORY_LIMIT="7"
    )
    assert (
        "settings        num_threads=3 denormals=ieee memory_limit=7 planning=estimate\n"
        in result.stdout
    )


@pytest.mark.parametrize("command", ["info", "check"])
def test_an_unknown_isa_ends_in_one_line(command: str) -> None:
    result = run_module(command, DWCONV_ISA="nope")
    assert (result.returncode, result.stdout) == (2, "")
    wanted = ", ".join(map(repr, isa.available()))
    message = f"DWCONV_ISA: expected one of {wanted}; received 'nope'"
    assert result.stderr == f"dwconv {command}: {message}\n"


def test_cpu_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert info.cpu_name().strip()
    arm = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n\nprocessor\t: 1\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: arm)
    assert info._linux_cpu_name() == "ARM implementer 0x41, part 0xd0c"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "processor\t: 0\nmodel name\t: Zen\n")
    assert info._linux_cpu_name() == "Zen"


# ---- check ---------------------------------------------------------------------------------------


def test_grid_has_every_tail_and_kind() -> None:
    cases = check.grid()
    for dtype in check.DTYPES:
        of_dtype = [case for case in cases if case.dtype == dtype]
        # Twice the widest vector: AVX-512 has 16 floats.
        assert {case.channels for case in of_dtype} >= set(range(1, 34))
        assert {case.strides for case in of_dtype} >= {(1, 1), (2, 2), (2, 1)}
        assert {case.multiplier for case in of_dtype} >= {1, 2, 3}
        assert {case.padding for case in of_dtype} == {"valid", "same", ((2, 0), (1, 3))}
        assert {case.activation for case in of_dtype} == {"linear", "relu", "relu6"}
        assert {case.bias for case in of_dtype} == {True, False}
        assert any(max(case.dilation_rate) > 1 and max(case.strides) > 1 for case in of_dtype)


@pytest.fixture
def short_grid(monkeypatch: pytest.MonkeyPatch) -> int:
    cases = check.grid()[::29]
    monkeypatch.setattr(check, "grid", lambda: cases)
    return len(cases)


def test_check_passes(short_grid: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    out, err = capsys.readouterr()
    rows = [line.split()[:2] for line in out.splitlines()[1:-1]]
    tried = (*check.DTYPES, *check.HALVES)
    assert rows == [[name, dtype] for name in isa.available() for dtype in tried]
    assert f"passed; {short_grid} shapes on each instruction set" in out
    assert err == ""  # no terminal, no bar


@pytest.mark.parametrize("error", [1e-3, np.nan])
def test_check_fails_on_a_wrong_result(
    error: float,
    short_grid: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = dwconv.depthwise_conv2d

    def wrong(*arguments, isa, **options):  # type: ignore[no-untyped-def]
        y = right(*arguments, isa=isa, **options)
        if isa == "portable" and y.dtype == np.float32:
            y.flat[-1] += error
        return y

    monkeypatch.setattr(check, "depthwise_conv2d", wrong)
    assert main(["check"]) == 1
    out = capsys.readouterr().out
    assert "times its bound: portable Case(" in out
    assert "FAILED" in out


def test_enter_sees_a_flipped_bit() -> None:
    case = dataclasses.replace(check.grid()[0], activation="linear", dtype="float32")
    x, kernel, bias = check.arrays(case, seed=1)
    limit = check.bound(case, x, kernel, bias)
    y = dwconv.depthwise_conv2d(x, kernel, bias, **case.options())
    expected = dwconv.reference.depthwise_conv2d(x, kernel, bias, **case.options())

    result = check.Result()
    check.enter(result, y, expected, limit, y.copy(), "same")
    assert (result.cases, result.same_bits, result.failures) == (1, True, [])
    other = y.copy()
    other.view(np.uint32).flat[3] ^= 1
    check.enter(result, other, expected, limit, y, "flipped")
    assert not result.same_bits
    assert result.failures == ["bits differ from those of portable: flipped"]


# ---- the bar -------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "_INTERVAL", 0)
    assert list(progress.progress("abcd", "working")) == list("abcd")
    drawn = terminal.getvalue().split("\r")
    assert drawn[1].endswith("] 0/4")
    assert drawn[4].endswith("] 3/4")
    assert drawn[-1] == "\x1b[K"


def test_progress_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.progress([1, 2], "working")) == [1, 2]
    assert capsys.readouterr() == ("", "")


# ---- what surrounds a command --------------------------------------------------------------------


@pytest.mark.parametrize(
    "variable",
    ["ISA", "MEMORY_LIMIT", "PLAN_MEMORY_LIMIT", "PLAN_CACHE", "NUM_THREADS", "DENORMALS"],
)
@pytest.mark.parametrize("value", ["junk", "-1", "\udcff"])
def test_a_variable_that_holds_no_setting(variable: str, value: str) -> None:
    result = run_module("info", **{f"DWCONV_{variable}": value})
    assert result.returncode == 2
    assert result.stderr.startswith(f"dwconv info: DWCONV_{variable}: expected")
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk() -> None:
    command = [*PYTHON, "-m", "dwconv", "info"]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        result = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=patient(120)
        )
    assert result.returncode == 1
    assert result.stderr.splitlines() == ["dwconv info: [Errno 28] No space left on device"]


HELP = [
    [],
    ["--help"],
    ["--version"],
    *([command, "--help"] for command in ("info", "check", "inspect", "convert", "tune")),
    *([["demo", "--help"]] if demo._PROGRAM.is_file() else []),  # in a clone
]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("arguments", HELP, ids=" ".join)
@pytest.mark.parametrize(
    ("shell", "error"),
    [
        ('"$@" >/dev/full', "[Errno 28] No space left on device"),
        ('PYTHONUNBUFFERED=1 "$@" >/dev/full', "[Errno 28] No space left on device"),
        ('"$@" >&-', "[Errno 9] Bad file descriptor"),
    ],
    ids=["full", "full, not buffered", "closed"],
)
def test_help_that_cannot_be_printed(shell: str, error: str, arguments: list[str]) -> None:
    """argparse drops such errors."""
    environment = {name: os.environ[name] for name in os.environ if name != "PYTHONUNBUFFERED"}
    result = subprocess.run(
        ["sh", "-c", shell, "sh", *PYTHON, "-m", "dwconv", *arguments],
        capture_output=True,
        text=True,
        timeout=patient(120),
        env=environment,
    )
    program = " ".join(["dwconv", *(word for word in arguments if word[0] != "-")])
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"{program}: {error}\n"


@pytest.mark.skipif(os.name != "posix", reason="a pipe whose reader is gone")
@pytest.mark.parametrize("arguments", [["info"], ["info", "--help"]], ids=" ".join)
def test_a_closed_pipe(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [*PYTHON, "-m", "dwconv", *arguments]
    try:
        result = subprocess.run(
            command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=patient(120)
        )
    finally:
        os.close(writer)
    assert (result.returncode, result.stderr) == (1, "")


@pytest.mark.skipif(os.name != "posix", reason="the shell's >&-")
def test_no_output_at_all() -> None:
    command = ["sh", "-c", '"$@" >&-', "sh", *PYTHON, "-m", "dwconv", "info"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=patient(120))
    assert (result.returncode, result.stderr) == (0, "")


# ---- JSON ----------------------------------------------------------------------------------------


def test_info_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json", "--isa", "portable"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["ISA chosen"] == "portable (by --isa)"
    assert facts["ISAs available"].split() == list(isa.available())


def test_check_of_one_isa_as_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = check.grid()[:6]
    monkeypatch.setattr(check, "grid", lambda: cases)
    widest = isa.available()[-1]
    assert main(["check", "--json", "--isa", widest]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["passed"] is True
    assert {row["isa"] for row in document["results"]} == {"portable", widest}
    assert sum(row["cases"] for row in document["results"] if row["isa"] == widest) == 6


def test_inspect_shows_what_a_layer_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    layer = dwconv.DepthwiseConv2D(
        (3, 5), strides=2, padding="same", activation="relu6", input_shape=(8, 8, 4), name="conv"
    )
    layer.build()
    layer.save(tmp_path / "conv.safetensors")
    assert main(["inspect", str(tmp_path / "conv.safetensors"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (row,) = document["layers"]
    expected = {
        "Kernel (kh, kw, C, M)": "(3, 5, 4, 1)",
        "Strides": "(2, 2)",
        "Padding": "same",
        "Dilation": "(1, 1)",
        "Activation": "relu6",
    }
    assert {name: row[name] for name in expected} == expected
    assert main(["inspect", str(tmp_path / "conv.safetensors")]) == 0
    assert "relu6" in capsys.readouterr().out
