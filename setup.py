"""Build of the extension modules: dwconv._core, C core plus Cython binding; dwconv.jax._ffi, the
calls that XLA makes to it, if the headers that jaxlib ships are there.

Switches (environment variables), for developers:
  DWCONV_JAX=1 | 0 | only                      dwconv.jax._ffi: needed, so that the build fetches
                                               jaxlib; left out; nothing else, in a built clone.
                                               Otherwise it is made where jaxlib is importable, and
                                               left out where that fails
  DWCONV_JAX_INCLUDE=FOLDER                    the headers of a jaxlib somewhere else
  DWCONV_SANITIZE=address,undefined | thread   build with gcc's or clang's sanitizers
  DWCONV_DEBUG=1                               -O1 -g, no other change
  DWCONV_COVERAGE=1                            gcov instrumentation of the C core
No per-file flags but for MSVC: each csrc/isa/*.c names its own target in the source, so any build
tool can compile it. MSVC has no such pragma; it takes intrinsics of any processor anywhere, but
only with /arch does the code around them not mix with instructions of the old kind.
"""

import importlib.util
import os
import re
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent
MSVC = sysconfig.get_platform().startswith("win")


#: File of csrc/isa -> its flag for MSVC on x86-64.
MSVC_ARCH = {
    "avx2": "/arch:AVX2",
    "quantized_avx2": "/arch:AVX2",
    "quantized_avx2_vnni": "/arch:AVX2",
    "avx512": "/arch:AVX512",
    "avx512vl": "/arch:AVX512",
    "quantized_avx512": "/arch:AVX512",
    "quantized_avx512_vnni": "/arch:AVX512",
    "quantized_avx512_vnni256": "/arch:AVX512",
}


def compile_args() -> tuple[list[str], list[str]]:
    """Compiler and linker flags."""
    if MSVC:
        return ["/O2", "/std:c11", "/experimental:c11atomics", "/fp:precise"], []
    # -ffp-contract=off: only the multiply-adds written as such may fuse; results must not depend on
    # what a compiler likes to contract.
    compile_flags = [
        "-std=c11",
        "-O3",
        "-g0",  # Python's own flags may say -g: three quarters of the wheel
        "-ffp-contract=off",
        "-fvisibility=hidden",
        "-pthread",
        "-Wall",
        "-Wextra",
    ]
    link_flags = ["-pthread"]
    if os.environ.get("DWCONV_DEBUG"):
        compile_flags += ["-O1", "-g"]
    if os.environ.get("DWCONV_COVERAGE"):
        compile_flags += ["-O1", "--coverage"]
        link_flags += ["--coverage"]
    if sanitizers := os.environ.get("DWCONV_SANITIZE"):
        compile_flags += ["-O1", "-g1", "-fno-omit-frame-pointer", f"-fsanitize={sanitizers}"]
        link_flags += [f"-fsanitize={sanitizers}"]
    return compile_flags, link_flags


def kernel_args() -> list[str]:
    """Further flags for csrc/isa: gcc's AddressSanitizer made affordable for unrolled kernels.

    Checks are calls, not inline code, and arrays of vectors, whose indices are constants, need
    none: avx512.c then compiles in 40 s rather than in many minutes.
    """
    compiler = os.environ.get("CC") or str(sysconfig.get_config_var("CC"))
    if "address" not in os.environ.get("DWCONV_SANITIZE", "") or "clang" in compiler:
        return []
    parameters = ["asan-instrumentation-with-call-threshold=0", "asan-stack=0"]
    return [word for parameter in parameters for word in ("--param", parameter)] + [
        "-fno-sanitize-address-use-after-scope"
    ]


class Progress:
    """Lines for tools/build_progress.py: pip shows nothing of a build before it ends."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self._path = os.environ.get("DWCONV_PROGRESS")
        self._tell()

    def step(self, failed: bool) -> None:
        self.done += not failed
        self._tell()

    def _tell(self) -> None:
        if self._path:
            with open(self._path, "a", encoding="utf-8") as file:  # noqa: PTH123
                file.write(f"{self.done} of {self.total} C files compiled\n")


def readme() -> str:
    """README.md for PyPI, where relative links lead nowhere: they become the repository's."""
    source = metadata()["project"]["urls"]["Source"]

    def absolute(match: re.Match[str]) -> str:
        begin, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        return f"{begin}({source}/{'raw' if begin.startswith('!') else 'blob'}/main/{target})"

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.sub(r"(!?\[[^\]]*\])\(([^)\s]+)\)", absolute, text)


def metadata() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


class BuildExt(build_ext):
    """Compiles the C core with all processors: setuptools goes file by file, twice as long."""

    def build_extension(self, ext: Extension) -> None:
        if sys.platform == "linux" and not (self.inplace or self.editable_mode or FOR_DEBUGGERS):
            ext.extra_link_args.append("-Wl,-s")  # a wheel; builds of developers keep their symbols
        if (self.inplace or self.editable_mode) and not FOR_DEBUGGERS:
            # Kept: the tests in C link them, see tests/support/compilers.py.
            self.build_temp = str(ROOT / "build" / "objects")
        core = [source for source in ext.sources if Path(source).parts[0] == "csrc"]
        if not core:
            super().build_extension(ext)
            return
        ext.sources = [source for source in ext.sources if source not in core]

        def is_kernel(source: str) -> bool:
            return Path(source).parent.name == "isa"

        def compile_one(source: str) -> list[str]:
            further = kernel_args() if is_kernel(source) else []
            if sysconfig.get_platform() == "win-amd64" and Path(source).stem in MSVC_ARCH:
                further = [*further, MSVC_ARCH[Path(source).stem]]
            objects: list[str] = self.compiler.compile(
                [source],
                output_dir=self.build_temp,
                include_dirs=ext.include_dirs,
                extra_postargs=[*ext.extra_compile_args, *further],
                depends=ext.depends,
            )
            return objects

        core.sort(key=lambda source: not is_kernel(source))  # those take long: first
        progress = Progress(len(core))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            running = [pool.submit(compile_one, source) for source in core]
            for done in as_completed(running):
                progress.step(failed=done.exception() is not None)
            for done in running:
                ext.extra_objects += done.result()
        super().build_extension(ext)


class BuildPy(build_py):
    """Puts the public header into the package; `dwconv.get_include` says where it is."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            include = Path(self.build_lib) / "dwconv" / "include"
            self.mkpath(str(include))
            self.copy_file(str(ROOT / "csrc" / "dwconv.h"), str(include / "dwconv.h"))


def jax_headers() -> "str | None":
    """The folder of the headers that jaxlib ships; None without one, or where none is wanted."""
    if WITH_JAX == "0":
        return None
    if folder := os.environ.get("DWCONV_JAX_INCLUDE"):
        return folder
    spec = importlib.util.find_spec("jaxlib")
    if spec is None or spec.origin is None:
        return None
    return str(Path(spec.origin).parent / "include")


def jax_extension() -> list[Extension]:
    """dwconv.jax._ffi, or nothing."""
    headers = jax_headers()
    if headers is None or os.environ.get("DWCONV_SANITIZE"):
        return []
    flags = ["/O2", "/std:c++17", "/EHsc"] if MSVC else ["-std=c++17", "-O2", "-g0"]
    hidden = [] if MSVC else ["-fvisibility=hidden", "-Wall", "-Wextra", "-isystem", headers]
    return [
        Extension(
            "dwconv.jax._ffi",
            sources=["dwconv/jax/_ffi.cc"],
            depends=["csrc/dwconv.h", "dwconv/binding/core_functions.h"],
            include_dirs=["csrc", "dwconv/binding", *([headers] if MSVC else [])],
            extra_compile_args=flags + hidden,
            language="c++",
            optional=WITH_JAX not in ("1", "only"),
        )
    ]


WITH_JAX = os.environ.get("DWCONV_JAX", "")
FOR_DEBUGGERS = any(os.environ.get(f"DWCONV_{name}") for name in ("DEBUG", "COVERAGE", "SANITIZE"))
compile_flags, link_flags = compile_args()
c_sources = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "csrc").rglob("*.c"))
headers = sorted(
    str(p.relative_to(ROOT))
    for folder in ("csrc", "dwconv")
    for p in (ROOT / folder).rglob("*")
    if p.suffix in {".h", ".inc"}
)

setup(
    long_description=readme(),
    long_description_content_type="text/markdown",
    cmdclass={"build_ext": BuildExt, "build_py": BuildPy},
    setup_requires=["jaxlib>=0.10"] if WITH_JAX == "1" else [],
    ext_modules=jax_extension()
    if WITH_JAX == "only"
    else cythonize(
        [
            Extension(
                "dwconv._core",
                sources=["dwconv/_core.pyx", *c_sources],
                depends=headers,
                include_dirs=["csrc", "dwconv", numpy.get_include()],
                extra_compile_args=compile_flags,
                extra_link_args=link_flags,
            )
        ],
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "embedsignature": True,
            "freethreading_compatible": True,
        },
    )
    + jax_extension(),
)
