# `make help` says what there is. GNU make, Python >= 3.10 and a C compiler are all that it needs.
#
# The package is installed editable, built in isolation as pip does it for users: an edit of a Python file
# takes effect at once, an edit of the C core rebuilds at the next command. That a wheel holds everything is
# tested by .ci/run, which installs one.

VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
BUILT_FROM := $(wildcard csrc/*.[ch] csrc/*.inc csrc/isa/*.[ch] csrc/isa/*.inc dwconv/*.pyx dwconv/*.pxd dwconv/binding/*.pxi dwconv/binding/*.h dwconv/jax/*.cc) setup.py pyproject.toml
# A free-threaded Python; '': one that tools/free_threaded_python.sh builds, once.
FREE_THREADED ?=
C_FILES := $(wildcard csrc/*.[ch] csrc/*.inc csrc/isa/*.[ch] csrc/isa/*.inc tests/c/*.[ch] tests/c/*.inc)
PEERS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/dwconv/bench-venv
CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11 python3.10 python
ARGS ?=

.DELETE_ON_ERROR:
.PHONY: help build docs test test-quick demo big-image check bench bench-quick bench-plot shape test-c test-isa test-torch test-jax test-keras test-quantized test-free-threaded lint format lint-c \
	wheels wheels-test zig-check release-check neon-mca asan tsan sanitizers fuzz fuzz-files torture soak clean

help:
	@echo 'make demo    filter a photograph; writes demo/*.png        ARGS="--image FILE", ARGS=--train'
	@echo 'make big-image    edges of a picture of 4 GB, by Dask     ARGS="--gb 0.5"'
	@echo 'make test    all tests                                     ARGS="-k tail -x"'
	@echo 'make test-quick   those of each room that are fast: a minute   ARGS=tests/layers'
	@echo 'make test-c  the tests of the C core in C'
	@echo 'make test-isa     each instruction set, in emulators, too  ARGS=--short'
	@echo 'make test-free-threaded  what threads share, with a Python without GIL   FREE_THREADED=python3.14t'
	@echo 'make test-torch   dwconv.torch and our gradients beside PyTorch, in .venv-torch (1 GB)'
	@echo 'make test-jax     dwconv.jax beside JAX, in .venv-jax (0.6 GB)'
	@echo 'make test-keras   tests/optional beside real Kerases, in .venv-keras (1.5 GB)'
	@echo 'make test-quantized   int8 beside ONNX Runtime and LiteRT, in .venv-quantized (300 MB)'
	@echo 'make docs    the site, into build/docs: warnings are errors, links are checked'
	@echo 'make check   every instruction set of this CPU against the reference'
	@echo 'make bench   beside other runtimes; writes bench/results   ARGS="mobilenet_v1 --shapes PATTERN"'
	@echo 'make bench-quick  the same within two minutes, for a look: writes nothing'
	@echo 'make bench-plot   draws bench/history.jsonl, all runs so far    ARGS="--out history.png"'
	@echo 'make shape   multiply-adds and spills of every kernel, as gcc and clang compile it'
	@echo 'make asan    the tests with AddressSanitizer and UBSan     ARGS="tests/core/test_ops.py"'
	@echo 'make tsan    the tests of threads with ThreadSanitizer'
	@echo 'make fuzz    a minute of fuzzing the core                  SECONDS=3600'
	@echo 'make sanitizers   both, and reads of unwritten memory: MSan (clang), valgrind'
	@echo 'make torture  random convolutions and gradients against float64   MINUTES=30 ARGS="--case SEED"'
	@echo 'make fuzz-files  a minute of fuzzing for each reader of files   SECONDS=3600 TARGETS=hdf5 ARGS="--jobs 2"'
	@echo 'make soak    a minute of the example service at full load  ARGS="--seconds 600"'
	@echo 'make neon-mca cycles of the NEON loops, as llvm-mca estimates them'
	@echo 'make lint    ruff, mypy and pyright; make lint-c: clang-format'
	@echo 'make format  ruff and clang-format, on all files'
	@echo 'make wheels       sdist and manylinux wheels of every Python here, into wheelhouse'
	@echo 'make wheels-test  each in an environment of its own       ARGS="--pythons 3.11 --short"'
	@echo 'make zig-check    the C core for Windows, macOS and musl: compiled, and run in wine'
	@echo 'make release-check  all of that, and the metadata: fit for a release?'
	@echo 'make build   nothing but the build'
	@echo 'make clean   removes what was built, $(VENV) included'
	@echo
	@echo 'PYTHON=python3.13 chooses a Python and VENV=.venv-3.13 another place for its environment.'

build: $(VENV)/installed

# By two processes. The tests of a file share one of them, and so what its fixtures have made.
test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

# What is not marked slow.
test-quick: $(VENV)/installed
	$(BIN)/python -m pytest -m 'not slow' -n 2 --dist loadfile -q $(ARGS)

test-c: $(VENV)/installed
	$(BIN)/python -m pytest tests/core/test_c.py $(ARGS)

test-isa: $(VENV)/wheel-tools
	$(BIN)/python tools/isa_matrix.py $(ARGS)

test-free-threaded: .venv-free-threaded/installed
	.venv-free-threaded/bin/python -m pytest $(FREE_THREADED_TESTS) --deselect tests/core/test_ops.py::test_public_names $(ARGS)

# What the site shows of an adapter runs with the tests of it.
EXAMPLES := tests/tools/test_site.py::test_examples

test-torch: .venv-torch/made-for-torch $(VENV)/installed
	.venv-torch/bin/python -m pytest -p no:cacheprovider $(or $(TESTS),$(wildcard tests/optional/test_torch_*.py tests/optional/test_tensors.py) $(EXAMPLES)) $(ARGS)

test-jax: .venv-jax/compiled $(VENV)/installed
	.venv-jax/bin/python -m pytest -p no:cacheprovider $(or $(TESTS),$(wildcard tests/optional/test_jax_*.py tests/optional/test_tensors.py) $(EXAMPLES)) $(ARGS)

test-keras: .venv-keras/made-for-keras .venv-jax/compiled .venv-torch/made-for-torch $(VENV)/installed
	.venv-keras/bin/python -m pytest -p no:cacheprovider $(or $(TESTS),tests/optional) $(ARGS)
	KERAS_BACKEND=jax .venv-jax/bin/python -m pytest -p no:cacheprovider $(or $(TESTS),tests/optional/test_keras_adapter.py $(EXAMPLES)) $(ARGS)
	KERAS_BACKEND=torch .venv-torch/bin/python -m pytest -p no:cacheprovider $(or $(TESTS),tests/optional/test_keras_adapter.py $(EXAMPLES)) $(ARGS)

test-quantized: .venv-quantized/made-for-quantized $(VENV)/installed
	.venv-quantized/bin/python -m pytest -p no:cacheprovider tests/optional/test_quantized_peers.py $(ARGS)

demo: $(VENV)/demo
	$(BIN)/python examples/demo/demo.py $(ARGS)

big-image: $(VENV)/installed
	@$(call requirements,big-image) | $(PIP) install --requirement /dev/stdin
	$(BIN)/python examples/big_image.py $(ARGS)

docs: $(VENV)/docs-tools
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --builder html docs build/docs
	$(BIN)/python tools/site_links.py build/docs

check: $(VENV)/installed
	$(BIN)/dwconv check $(ARGS)

bench: $(VENV)/installed $(PEERS)/installed
	$(BIN)/python bench/run.py --python $(PEERS)/bin/python --save $(ARGS)
	$(if $(ARGS),,$(BIN)/python bench/run.py --python $(PEERS)/bin/python --save --channels-first)

bench-quick: $(VENV)/installed $(PEERS)/installed
	$(BIN)/python bench/run.py --python $(PEERS)/bin/python --quick $(ARGS)

bench-plot: $(VENV)/installed
	$(BIN)/python bench/history.py $(ARGS)

shape: $(VENV)/installed
	$(BIN)/python tools/code_shape.py $(ARGS)

wheels: $(VENV)/wheel-tools
	$(BIN)/python tools/build_wheels.py $(ARGS)

wheels-test: $(VENV)/wheel-tools
	$(BIN)/python tools/test_wheels.py $(ARGS)

zig-check: $(VENV)/wheel-tools
	$(BIN)/python tools/zig_check.py $(ARGS)

release-check: $(VENV)/wheel-tools
	$(BIN)/python tools/release_check.py $(ARGS)

neon-mca: $(VENV)/made
	$(BIN)/python tools/neon_mca.py $(ARGS)

lint: $(VENV)/linters
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --strict --warn-unused-ignores --follow-imports=silent tests/types/lines.py
	$(BIN)/pyright --project tests/types

asan: $(VENV)/installed
	VENV=$(VENV) tools/sanitized.sh asan $(ARGS)

tsan: $(VENV)/installed
	VENV=$(VENV) tools/sanitized.sh tsan $(ARGS)

fuzz:
	tools/fuzz.sh $(or $(SECONDS),60)

sanitizers: asan tsan
	tools/uninitialized.sh msan
	tools/uninitialized.sh valgrind

torture: $(VENV)/installed
	nice -n 19 $(BIN)/python tests/core/torture.py --minutes $(or $(MINUTES),1) $(ARGS)

fuzz-files: $(VENV)/fuzzers
	$(BIN)/python tools/fuzz_files.py --seconds $(or $(SECONDS),60) $(ARGS) $(TARGETS)

soak: $(VENV)/installed
	$(BIN)/python tests/threads/soak.py $(ARGS)

lint-c: $(VENV)/linters
	$(BIN)/clang-format --dry-run --Werror $(C_FILES)

format: $(VENV)/linters
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(C_FILES)

clean:
	rm -rf $(VENV) .venv-torch .venv-jax .venv-keras .venv-free-threaded build dist wheelhouse *.egg-info dwconv/_core.c dwconv/*.so
	rm -rf .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- the environment: each file in it says that a step is done -----------------------------------------

# The file holds what PYTHON was, '' for a python found here; another PYTHON makes the environment anew.
ifdef PYTHON
ifneq ($(PYTHON),$(shell cat $(VENV)/made 2>/dev/null))
.PHONY: $(VENV)/made
endif
endif

$(VENV)/made:
	@set -e; \
	for python in $(or $(PYTHON),$(CANDIDATES)); do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then break; fi; \
	    python=; \
	done; \
	if [ -z "$$python" ]; then \
	    echo 'make: no Python >= 3.10 among: $(or $(PYTHON),$(CANDIDATES)). Name one with PYTHON=...' >&2; \
	    exit 1; \
	fi; \
	echo "$(VENV): $$($$python --version)"; \
	rm -rf $(VENV); \
	$$python -m venv $(VENV); \
	$(PIP) install --upgrade pip setuptools
	@echo '$(PYTHON)' > $@

# The package alone, editable.
$(VENV)/built: $(VENV)/made $(BUILT_FROM)
	@echo 'building dwconv: minutes of CPU time for the kernels, once'
	@PYTHONWARNINGS='ignore:Editable installation' $(BIN)/python tools/build_progress.py $(PIP) install --editable .
	@touch $@

$(VENV)/installed: $(VENV)/built
	@echo 'installing what tests and demo need'
	@{ $(call requirements,test); $(call requirements,demo); } | $(PIP) install --requirement /dev/stdin
	@touch $@

$(VENV)/demo: $(VENV)/built
	@echo 'installing what the demo needs: matplotlib, pillow, scikit-image, scipy'
	@$(call requirements,demo) | $(PIP) install --requirement /dev/stdin
	@touch $@

# The requirements of an extra, read from the installed package: no second build.
requirements = $(BIN)/python -c "import re; from importlib.metadata import requires; \
	found = [re.subn('(;| and) extra == .$(1).', '', r) for r in requires('dwconv')]; \
	print(*(requirement for requirement, times in found if times), sep='\n')"

$(VENV)/linters: $(VENV)/installed pyproject.toml
	@$(call requirements,dev) | $(PIP) install --requirement /dev/stdin
	@touch $@

$(VENV)/docs-tools: $(VENV)/installed pyproject.toml
	@$(call requirements,docs) | $(PIP) install --requirement /dev/stdin
	@touch $@

$(VENV)/fuzzers: $(VENV)/installed pyproject.toml
	@$(call requirements,fuzz) | $(PIP) install --requirement /dev/stdin
	@touch $@

$(VENV)/wheel-tools: $(VENV)/installed pyproject.toml
	@$(call requirements,wheels) | $(PIP) install --requirement /dev/stdin
	@touch $@

# Not files: safetensors has no wheel for 3.13t.
FREE_THREADED_TESTS := $(addprefix tests/,$(addsuffix .py,threads/test_free_threaded threads/test_memory \
	$(addprefix core/test_,isa ops bits planar plan gradients) $(addprefix layers/test_,layer layer_plan model)))

.venv-free-threaded/installed: $(BUILT_FROM)
	@set -e; \
	python='$(FREE_THREADED)'; \
	[ -n "$$python" ] || python=$$(tools/free_threaded_python.sh); \
	rm -rf .venv-free-threaded; \
	$$python -m venv .venv-free-threaded; \
	export PIP_ONLY_BINARY=:all: PIP_DISABLE_PIP_VERSION_CHECK=1; \
	.venv-free-threaded/bin/pip install --quiet numpy scipy ml_dtypes mpmath pytest hypothesis; \
	.venv-free-threaded/bin/pip install --quiet --no-deps --editable .
	@touch $@

# The other runtimes: made once for all clones of a user, since they are large.
$(PEERS)/installed: pyproject.toml | $(VENV)/installed
	@echo 'installing the runtimes to compare with into $(PEERS)'
	@$(BIN)/python -m venv $(PEERS)
	@$(call requirements,bench) | $(PEERS)/bin/python -m pip --quiet --disable-pip-version-check \
	    install --requirement /dev/stdin
	@touch $@

# Environments of frameworks: the package as $(VENV) built it, for the same Python, and what tests need. Nothing is
# compiled twice.
TESTED_WITH := 'hypothesis>=6.90' 'ml_dtypes>=0.3' 'mpmath>=1.3' 'pytest>=7.4' 'safetensors>=0.4'
.venv-torch/made-for-torch .venv-jax/made-for-jax .venv-keras/made-for-keras .venv-quantized/made-for-quantized: | $(VENV)/installed
	@rm -rf $(@D)
	@$(BIN)/python -m venv $(@D)
	@$(@D)/bin/python -m pip --quiet --disable-pip-version-check install $(TESTED_WITH) $(FRAMEWORK)
	@$(@D)/bin/python -c 'import site; print(*site.getsitepackages())' | \
	    while read -r folder; do echo '$(CURDIR)' > "$$folder/dwconv-clone.pth"; done
	@touch $@

.venv-torch/made-for-torch: FRAMEWORK := torch==2.13.0 ninja keras
.venv-jax/made-for-jax: FRAMEWORK := jax jaxlib flax keras

# The calls that XLA makes to the core: the one part that needs jaxlib's headers.
.venv-jax/compiled: .venv-jax/made-for-jax $(VENV)/installed dwconv/jax/_ffi.cc dwconv/binding/core_functions.h
	@DWCONV_JAX=only \
	    DWCONV_JAX_INCLUDE=$$(.venv-jax/bin/python -c 'import jax.ffi; print(jax.ffi.include_dir())') \
	    $(BIN)/python setup.py --quiet build_ext --inplace
	@touch $@

.venv-quantized/made-for-quantized: FRAMEWORK := onnx onnxruntime ai-edge-litert flatbuffers tflite

# Keras 3 and Keras 2, both on TensorFlow.
.venv-keras/made-for-keras: FRAMEWORK := tensorflow-cpu keras tf_keras h5py
