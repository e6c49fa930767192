# `make` alone says what there is. Needs git, make and python3 (3.11 or newer, with venv), nothing else.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

DEMO_ARGS   ?=
PYTEST_ARGS ?=
BENCH_ARGS  ?=

# Two sets of packages: what the gateway and its demo need, and that with the tools of test and check on top.
# Both come from a lock with hashes. The lock cannot serve a 32-bit Python: PyPI has no 32-bit ARM wheels of some of
# these packages, piwheels does, and its builds have other hashes. There the ranges of pyproject.toml decide.
RUN := $(VENV)/run.stamp
DEV := $(VENV)/dev.stamp
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --require-virtualenv
IS_64_BIT = $(BIN)/python -c 'import sys; sys.exit(sys.maxsize < 2**32)'

# Two at a time: half of a test's time is waiting for disks, brokers and programs. Whoever is free takes the next.
# PYTEST_ARGS='-n 0' runs them one after the other, for a debugger.
TWO_AT_ONCE := -n 2 --dist worksteal

# A test that hangs says where, fails, and the others go on.
HANG_ENDS := -o faulthandler_timeout=180 -o faulthandler_exit_on_timeout=true

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check rigs bench lock dist clean

help:  ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "  DEMO_ARGS='--for 10s' and PYTEST_ARGS='-k tail' BENCH_ARGS=--quick are passed on; PYTHON=python3.13 chooses the interpreter."

demo: $(RUN)  ## run the gateway on simulated hardware and watch its events arrive over MQTT
	@$(BIN)/gateway demo $(DEMO_ARGS)

test: $(DEV)  ## run the tests
	@command -v mosquitto >/dev/null || test -x /usr/sbin/mosquitto || \
	  echo "mosquitto is not installed: the tests that need it are skipped (sudo apt install mosquitto)."
	@$(BIN)/pytest -m "not rig" $(TWO_AT_ONCE) $(HANG_ENDS) $(PYTEST_ARGS)

check: $(DEV)  ## lint, types, and the arrows between the layers
	@echo "ruff";        $(BIN)/ruff check --quiet . && $(BIN)/ruff format --check --quiet .
	@echo "mypy";        $(BIN)/mypy --no-error-summary
	@echo "lint-imports"; $(BIN)/lint-imports --no-logo || { echo "An import points the wrong way."; exit 1; }

rigs: $(DEV)  ## run the slow tests: faults, power cuts, long runs
	@$(BIN)/pytest -m rig $(PYTEST_ARGS) || { status=$$?; \
	  if [ $$status = 5 ]; then echo "There are no rigs in this checkout."; else exit $$status; fi; }

bench: $(DEV)  ## measure throughput, latency, bytes and memory beside a bare MQTT client
	@test -n "$(BENCH_ARGS)" || $(BIN)/python -m tests.rules.bench
	@$(BIN)/python -m tests.bench $(BENCH_ARGS)

lock:  ## resolve all dependencies anew into requirements.lock and requirements-dev.lock
	@echo "Resolving for Linux, Python 3.11 and newer ..."
	@test -x build/lock/bin/uv || { $(PYTHON) -m venv build/lock && build/lock/bin/pip --quiet install uv; }
	@$(call resolve,requirements.lock,--extra demo)
	@$(call resolve,requirements-dev.lock,--extra demo --extra cel --extra parquet --extra test --extra check)
	@grep -c '^[a-z]' requirements.lock requirements-dev.lock

# hatchling and editables build the project itself, without reaching for an unlocked tool.
resolve = printf 'hatchling\neditables\n' | build/lock/bin/uv pip compile --quiet --no-config --universal \
	  --python-version 3.11 --upgrade --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  pyproject.toml $(2) - --output-file $(1)

dist: $(RUN)  ## build the wheel and the source archive into dist/
	@echo "Building ..."
	@$(BIN)/python -m hatchling build

clean:  ## remove everything that make and the tools have built
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip is the last thing that venv makes: where it is there, the rest is whole.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "This needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 | tail -n 1)."; \
	  echo "Where a newer one has another name, say so: make PYTHON=python3.13"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "Python's venv is not installed. On Debian and Raspberry Pi OS: sudo apt install python3-venv"; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version) ..."
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)

$(RUN): requirements.lock pyproject.toml | $(BIN)/pip
	@echo "Installing the gateway into $(VENV), about half a minute ..."
	@if $(IS_64_BIT); then \
	  $(PIP) install --require-hashes -r requirements.lock && $(PIP) install --no-deps --no-build-isolation -e .; \
	else $(PIP) install -e '.[demo]'; fi
	@touch $@

$(DEV): $(RUN) requirements-dev.lock
	@echo "Installing the tools for test and check, about half a minute ..."
	@if $(IS_64_BIT); then $(PIP) install --require-hashes -r requirements-dev.lock; \
	else $(PIP) install -e '.[demo,test,check]'; fi
	@touch $@
