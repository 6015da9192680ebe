"""`dwconv info`: what a bug report needs."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from .. import __version__, config, isa


def run(isa_name: str | None = None, as_json: bool = False) -> int:
    """Prints the facts, one per line or as a JSON object, with `isa_name` as the one chosen."""
    names = facts()
    if isa_name is not None:
        names["ISA chosen"] = f"{isa_name} (by --isa)"
    if as_json:
        print(json.dumps(names, indent=2))
        return 0
    width = max(map(len, names))
    for name, value in names.items():
        print(f"{name:<{width}}  {value}")
    return 0


def facts() -> dict[str, str]:
    """{name: value} of what a result or a speed may depend on."""
    usable = [name for name, has in isa.cpu_features().items() if has]
    return {
        "dwconv": f"{__version__} ({Path(__file__).parents[1]})",
        "Python": f"{platform.python_implementation()} {platform.python_version()}{_threading()}",
        "NumPy": metadata.version("numpy"),
        "platform": f"{platform.platform()}, {os.cpu_count()} CPUs",
        "CPU": cpu_name(),
        "design": _design(),
        "caches": _caches(),
        "features": " ".join(usable) or "none that matter here",
        "ISA chosen": isa.default() + _why(),
        "ISAs available": " ".join(isa.available()),
        "ISAs compiled": " ".join(isa.compiled()),
        "compiler": isa.compiler(),
        "settings": f"num_threads={config.num_threads()} denormals={config.denormals()} "
        f"memory_limit={config.memory_limit()} planning={config.planning()}",
    }


def _design() -> str:
    cpu = isa.cpu()
    name = cpu["design"] or "none that estimates know, as Zen 4"
    maker = f"{cpu['maker'] or 'unknown'} family {cpu['family']} model {cpu['model']}"
    return f"{name} ({maker}), data paths of {cpu['vector_bits']} bits"


def _caches() -> str:
    cpu = isa.cpu()
    sizes = [f"L{i} {int(size) >> 10} KB" for i in (1, 2, 3) if (size := cpu[f"l{i}_bytes"])]
    return ", ".join([*sizes, f"lines of {cpu['line_bytes']} bytes"]) if sizes else "not told"


def cpu_name() -> str:
    """The CPU's name as its maker gives it, as far as the operating system tells."""
    if sys.platform == "linux":
        name = _linux_cpu_name()
    elif sys.platform == "darwin":
        name = _output_of("sysctl", "-n", "machdep.cpu.brand_string")
    else:
        name = os.environ.get("PROCESSOR_IDENTIFIER", "")
    return name or platform.processor() or platform.machine() or "unknown"


def _linux_cpu_name() -> str:
    """'model name' of x86; on ARM, which has none there, the codes of implementer and part."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    first = text.split("\n\n", maxsplit=1)[0]
    fields = {
        key.strip(): value.strip()
        for key, found, value in (line.partition(":") for line in first.splitlines())
        if found
    }
    if "CPU implementer" in fields:
        return f"ARM implementer {fields['CPU implementer']}, part {fields.get('CPU part', '?')}"
    return fields.get("model name", "")


def _output_of(*command: str) -> str:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _threading() -> str:
    enabled = getattr(sys, "_is_gil_enabled", lambda: True)()
    return "" if enabled else ", free-threaded"


def _why() -> str:
    chosen = os.environ.get(isa.VARIABLE)
    return f" (by {isa.VARIABLE})" if chosen else ""
