"""The walls: a file uses only files below it; the C core knows nothing of Python."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
from support import ROOT, run_python

import dwconv
from dwconv import _core

PACKAGE = ROOT / "dwconv"

#: The files and folders of dwconv/, lowest first; CONTRIBUTING.md says what each is for.
#: A new one: its place here.
ORDER = [
    *("binding", "_version", "_core", "locks", "messages"),
    *(
        "arguments",
        "planning",
        "shapes",
        "dtypes",
        "casts",
        "config",
        "isa",
        "naming",
        "reference",
        "registry",
    ),
    "torch_weights",
    *("terminal", "waiting"),
    *("activations", "initializers", "regularizers", "constraints"),
    *("ops", "formats", "layers", "optimizers"),
    *("folding", "saving", "wisdom", "torch", "jax", "keras"),
    *("dask", "xarray"),
    "__init__",
    *("cli", "__main__"),
]

#: Who may use the compiled module.
USERS_OF_CORE = {"casts", "config", "isa", "activations"}
USERS_OF_CORE |= {"ops.convolution", "ops.epilogue", "ops.kept_plans", "ops.plan", "ops.gradients"}
USERS_OF_CORE |= {"ops.quantized", "layers.quantized_depthwise_conv2d"}
USERS_OF_CORE |= {"layers.weights", "layers.depthwise_conv", "layers.depthwise_conv1d"}
USERS_OF_CORE |= {"layers.depthwise_conv2d"}
USERS_OF_CORE |= {"jax.primitives"}  # the numbers of activations and instruction sets
USERS_OF_CORE |= {"__init__"}  # to say what to do if it cannot be imported

#: What importing dwconv leaves for later.
LATE = {"binding.missing", "cli", "folding", "formats", "layers.backward", "layers.batch_norm"}
LATE |= {
    "jax",
    "keras",
    "layers.files",
    "ops.description",
    "ops.gradients",
    "optimizers",
    "saving",
    "torch",
    "torch_weights",
    "wisdom",
}

#: What may be imported when dwconv is.
DEPENDENCIES = {"numpy"}

#: The frameworks of each adapter, which may be imported when the adapter is.
FRAMEWORKS = {
    "dask": {"dask"},
    "jax": {"jax", "flax"},
    "keras": {"keras"},
    "torch": {"torch"},
    "xarray": {"xarray"},
}

FILES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    """'ops', 'formats.safetensors'; 'formats' for formats/__init__.py, '__init__' for dwconv's."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES} | {
    "_core": PACKAGE / "_core.pyx",
    "jax._ffi": PACKAGE / "jax" / "_ffi.cc",
}


def room_of(module: str) -> str:
    return module.partition(".")[0]


def imported_names(node: ast.AST, path: Path) -> Iterator[str]:
    """Absolute dotted names that an import statement may mean, in dwconv or elsewhere."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        package = ["dwconv", *path.relative_to(PACKAGE).parent.parts]
        above = package[: len(package) - node.level + 1] if node.level else []
        source = ".".join([*above, *filter(None, [node.module])])
        yield from (f"{source}.{alias.name}" for alias in node.names)


def own_module(name: str) -> str | None:
    """The module of dwconv that a dotted name lives in; None if it lives elsewhere."""
    top, _, inside = name.partition(".")
    if top != "dwconv":
        return None
    while inside and inside not in MODULES:
        inside = inside.rpartition(".")[0]
    return inside or "__init__"


def uses(path: Path) -> set[str]:
    """Modules of dwconv that a file imports, inside of functions, too."""
    names = {
        name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in imported_names(node, path)
    }
    return {module for name in names if (module := own_module(name))} - {module_name(path)}


def top_level(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node that runs when the file is imported: not the inside of functions."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield node
            yield from top_level(node)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_uses_only_what_is_below(path: Path) -> None:
    user = module_name(path)
    assert room_of(user) in ORDER, f"{user} has no place in ORDER of {Path(__file__).name}"
    for used in uses(path):
        if room_of(used) == room_of(user):
            continue  # within a folder: test_no_cycles
        below = ORDER.index(room_of(used)) < ORDER.index(room_of(user))
        assert below, f"{user} imports {used}, which is not below it"


def test_no_cycles() -> None:
    graph = {module_name(path): uses(path) for path in FILES}
    while graph:
        free = {module for module, used in graph.items() if not used & graph.keys()}
        assert free, f"these import each other in a circle: {sorted(graph)}"
        graph = {module: used for module, used in graph.items() if module not in free}


def test_only_these_use_the_core() -> None:
    users = {module_name(path) for path in FILES if "_core" in uses(path)}
    assert users == USERS_OF_CORE


def test_the_stub_names_what_the_core_has() -> None:
    stub = ast.parse((PACKAGE / "_core.pyi").read_text(encoding="utf-8"))
    named = set()
    for node in stub.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            named.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            named.add(node.target.id)
    public = {name for name in vars(_core) if not name.startswith("_")}
    assert named == public


def test_the_reference_shares_nothing() -> None:
    assert uses(PACKAGE / "reference.py") == set()


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_dependencies(path: Path) -> None:
    """At the top of a file only NumPy, and the framework in its adapter; a command imports what
    it needs besides.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {name for node in top_level(tree) for name in imported_names(node, path)}
    packages = {name.partition(".")[0] for name in names}
    allowed = DEPENDENCIES | FRAMEWORKS.get(room_of(module_name(path)), set())
    assert packages <= {"dwconv"} | allowed | sys.stdlib_module_names, path.name


def test_the_order_sees_imports() -> None:
    """The three forms of import are understood; else the tests above would pass for nothing."""
    path = PACKAGE / "formats" / "some.py"
    found = {
        statement: {own_module(name) for name in imported_names(ast.parse(statement).body[0], path)}
        for statement in (
            "from .. import ops, __version__",
            "from ..arguments import read_pair",
            "import dwconv.isa",
            "from dwconv import reference",
            "import numpy as np",
        )
    }
    expected = [{"ops", "__init__"}, {"arguments"}, {"isa"}, {"reference"}, {None}]
    assert list(found.values()) == expected


def test_importing_loads_little() -> None:
    """What takes time to import waits until it is used: files, training, and pathlib."""
    code = """
        import sys, numpy.typing, dataclasses, threading
        before = set(sys.modules)
        import dwconv
        print(*sorted(set(sys.modules) - before))
        assert callable(dwconv.load_layers) and "load" in dir(dwconv)
        assert "dwconv.saving" in sys.modules
        assert dwconv.optimizers is sys.modules["dwconv.optimizers"]
        from dwconv import gradients
        assert gradients is sys.modules["dwconv.ops.gradients"]
        assert dwconv.FormatError is sys.modules["dwconv.formats"].FormatError
    """
    done = run_python("-c", textwrap.dedent(code))
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.split()
    own = {name for name in loaded if name.partition(".")[0] == "dwconv"}
    late = {
        name for name in own if {(inner := name.removeprefix("dwconv.")), room_of(inner)} & LATE
    }
    assert not late
    assert {"dwconv.layers.depthwise_conv2d", "dwconv.ops"} <= own
    # Ours are some 35 small files; of the standard library a few, none large.
    assert len(own) <= 45, own
    others = {name for name in loaded if name not in own}
    assert len(others) <= 10, others
    assert not others & {"json", "pathlib", "zipfile", "difflib", "hashlib", "secrets"}


# ---- the compiled module missing -----------------------------------------------------------------


def copy_of_package(folder: Path) -> Path:
    """The Python files of the package alone, in folder/dwconv."""
    installed = Path(dwconv.__file__).parent
    ignored = shutil.ignore_patterns("_core.*", "__pycache__", "*.so", "*.pyd")
    return Path(shutil.copytree(installed, folder / "dwconv", ignore=ignored))


def import_of(folder: Path) -> str:
    """The last line that `import dwconv` prints, in a folder with a copy of it."""
    # Python's own three importers; that of an editable installation knows where the module is.
    code = f"""
        import sys
        own = [f for f in sys.meta_path if f.__module__.startswith("_frozen_importlib")]
        sys.meta_path, sys.path = own, [{str(folder)!r}, *sys.path]
        import dwconv
    """
    done = run_python("-c", textwrap.dedent(code))
    assert done.returncode == 1, done.stderr
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("present", "wanted"),
    [
        (None, r"in .*; it has none\. Install it anew with: .* -m pip install --force-reinstall"),
        (
            f"_core{EXTENSION_SUFFIXES[0]}",
            "to load on this machine .*; received: .*Install it anew",
        ),
        ("_core.cpython-33-other.so", "has _core.cpython-33-other.so. Install it with this Python"),
        ("../setup.py", "a source tree; it has none. Build it there with `make build`"),
    ],
    ids=["none", "damaged", "foreign", "sources"],
)
def test_without_the_compiled_module(present: str | None, wanted: str, tmp_path: Path) -> None:
    """An ImportError says what was expected, what is there and what to do."""
    package = copy_of_package(tmp_path)
    if present:
        (package / present).write_bytes(b"no machine code")
    last = import_of(tmp_path)
    assert last.startswith("ImportError: dwconv: expected "), last
    assert re.search(wanted, last), last


def test_from_a_zip(tmp_path: Path) -> None:
    """No operating system loads a module from within a file, whatever is installed."""
    copy_of_package(tmp_path / "unpacked")
    archive = shutil.make_archive(str(tmp_path / "app"), "zip", tmp_path / "unpacked")
    last = import_of(Path(archive))
    assert re.search(r"expected a folder; .*app.zip.dwconv is inside of .*Unpack it", last), last
    assert "nstall" not in last


def test_in_a_second_interpreter() -> None:
    code = """
        import numpy, dwconv
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        tried = "try: import dwconv\\nexcept ImportError as error: print(error)"
        interpreters.run_string(interpreters.create(), tried)
    """
    try:
        import _xxsubinterpreters  # noqa: F401  # type: ignore[import-not-found]
    except ImportError:
        pytest.importorskip("_interpreters")
    done = run_python("-c", textwrap.dedent(code))
    assert "expected the main interpreter of the process" in done.stdout, done
    assert "nstall" not in done.stdout


# ---- the C core ----------------------------------------------------------------------------------

C_FILES = sorted(path for path in (ROOT / "csrc").rglob("*") if path.suffix in {".c", ".h", ".inc"})


@pytest.mark.parametrize("path", C_FILES, ids=lambda path: path.name)
def test_c_knows_no_python(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert not re.search(r"\bPy[A-Z_]\w*|Python\.h|numpy", source), path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("language", "standard", "compilers"),
    [("c", "c11", ["cc", "gcc", "clang"]), ("c++", "c++11", ["c++", "g++", "clang++"])],
)
def test_headers_compile_alone(
    language: str, standard: str, compilers: list[str], tmp_path: Path
) -> None:
    """The public header in C and in C++, the internal ones in C, with nothing before them."""
    compiler = next(filter(None, map(shutil.which, compilers)), None)
    if compiler is None:
        pytest.skip(f"no compiler for {language}: none of {compilers}")
    headers = ["dwconv.h"]
    if language == "c":
        headers = [
            path.name for path in C_FILES if path.suffix == ".h" and path.parent.name == "csrc"
        ]
    for header in headers:
        source = tmp_path / f"{header}.{'c' if language == 'c' else 'cc'}"
        source.write_text(
            f'#include "{header}"\nint main(void) {{ return 0; }}\n', encoding="utf-8"
        )
        command = [compiler, "-x", language, f"-std={standard}", "-fsyntax-only", "-pedantic"]
        command += ["-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'csrc'}", str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
