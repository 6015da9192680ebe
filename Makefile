# `make help` says what there is. GNU make, Python >= 3.10 and a C compiler are all that it needs.
#
# The package is installed editable, built in isolation as pip does it for users: an edit of a Python file
# takes effect at once, an edit of the C core rebuilds at the next command. That a wheel holds everything is
# tested by .ci/run, which installs one.

VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
BUILT_FROM := $(wildcard csrc/*.[ch] csrc/*.inc csrc/isa/*.[ch] csrc/isa/*.inc dwconv/*.pyx dwconv/*.pxi) setup.py pyproject.toml
CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11 python3.10 python
ARGS ?=

.DELETE_ON_ERROR:
.PHONY: help build test demo check bench test-c lint clean

help:
	@echo 'make demo    filter a photograph; writes demo/*.png        ARGS="--image FILE", ARGS=--train'
	@echo 'make test    all tests                                     ARGS="-k tail -x"'
	@echo 'make test-c  the tests of the C core in C'
	@echo 'make check   every instruction set of this CPU against the reference'
	@echo 'make bench   microseconds per call, MobileNet-V1 shapes'
	@echo 'make lint    ruff and mypy'
	@echo 'make build   nothing but the build'
	@echo 'make clean   removes what was built, $(VENV) included'
	@echo
	@echo 'PYTHON=python3.13 chooses a Python and VENV=.venv-3.13 another place for its environment.'

build: $(VENV)/installed

test: $(VENV)/installed
	$(BIN)/python -m pytest $(ARGS)

test-c: $(VENV)/installed
	$(BIN)/python -m pytest tests/test_c.py $(ARGS)

demo: $(VENV)/installed
	$(BIN)/dwconv demo $(ARGS)

check: $(VENV)/installed
	$(BIN)/dwconv check $(ARGS)

bench: $(VENV)/installed
	$(BIN)/python bench/mobilenet_v1.py $(ARGS)

lint: $(VENV)/linters
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist *.egg-info dwconv/_core.c dwconv/*.so
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

$(VENV)/installed: $(VENV)/made $(BUILT_FROM)
	@echo 'building and installing dwconv with what tests and demo need'
	@PYTHONWARNINGS='ignore:Editable installation' $(PIP) install --editable '.[test,demo]'
	@touch $@

# The requirements of the extra `dev`, read from the installed package: no second build.
$(VENV)/linters: $(VENV)/installed pyproject.toml
	@$(BIN)/python -c "from importlib.metadata import requires; \
	print(*(r.split(';')[0] for r in requires('dwconv') if 'extra == \"dev\"' in r), sep='\n')" \
	| $(PIP) install --requirement /dev/stdin
	@touch $@
