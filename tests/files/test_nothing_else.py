"""What loading, calling and saving do besides: nothing. Audit events (PEP 578) tell, in a process
of its own, since a hook stays.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

from support import ROOT, patient

#: Loads, calls and saves twice. The first time imports what is needed; the second is watched.
PROGRAM = """
import json, os, sys
from pathlib import Path
import numpy as np
import dwconv
from dwconv import FormatError

folder, *files = map(Path, sys.argv[1:])
events = []
watched = False

def hook(event, arguments):
    if not watched:
        return
    if event == "open":
        path = arguments[0]  # a number: of a file that os.open has opened, an event before
        if not isinstance(path, int) and not os.fspath(path).startswith(os.fspath(folder)):
            events.append(f"open {path!r}")
    elif event.partition(".")[0] in (
        "exec", "import", "pickle", "marshal", "socket", "subprocess", "urllib",
        "ctypes", "http", "ftplib", "smtplib", "webbrowser", "code", "cpython",
    ) or event in ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.putenv", "os.chdir"):
        events.append(f"{event} {arguments!r}"[:200])

def work():
    layer = dwconv.DepthwiseConv2D(3, activation="gelu", dtype="float16", name="dw")
    model = dwconv.Sequential([dwconv.Input((8, 8, 2)), layer], name="model")
    model(np.ones((1, 8, 8, 2), "f2"), training=False)
    for suffix in (".safetensors", ".npz", ".keras", ".json"):
        for thing in (layer, model):
            thing.save(folder / f"saved{suffix}")
            dwconv.load(folder / f"saved{suffix}")
    layer.save_weights(folder / "saved.weights.h5")
    layer.load_weights(folder / "saved.weights.h5")
    for path in files:
        try:
            dwconv.load_layers(path, on_error="skip", fold=True)
        except FormatError:
            pass

sys.addaudithook(hook)
work()
watched = True
work()
watched = False
print(json.dumps(events))
"""


def test_nothing_is_executed_and_nothing_leaves_the_process(tmp_path: Path) -> None:
    """No code, import, pickle, process or socket; files but in the folder that is named: none."""
    files = []
    data = ROOT / "tests" / "data"
    for name in (
        *("keras-3-kinds.keras", "tf-2.12-kinds.h5", "tf-1.14-mixed.h5", "tfmot-pruned.keras"),
        *("attacks/a-long-key.keras", "attacks/many-ends.json", "keras-3-own.keras"),
    ):
        path = tmp_path / Path(name).name
        path.write_bytes(gzip.decompress((data / f"{name}.gz").read_bytes()))
        files.append(path)
    # A module that a config names, and one that is in the way.
    (tmp_path / "evil.py").write_text("raise SystemExit('executed')", encoding="utf-8")
    activation = {"module": "evil", "class_name": "function", "config": "evil"}
    config = {"name": "evil", "kernel_size": 3, "activation": activation}
    document = {"class_name": "DepthwiseConv2D", "module": "evil", "config": config}
    path = tmp_path / "evil.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    files.append(path)
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), *map(str, files)],
        env={**os.environ, "KERAS_HOME": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=patient(300),
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout.splitlines()[-1]) == []
