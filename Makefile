# Every task of this project. Each target installs what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VERSION_OF = $(shell $(1) -c 'import sys; print(sys.version_info[:2])' 2>/dev/null)

# `make test PYTHON=python3.13` must not use an environment of another Python.
ifneq ($(filter command environment,$(origin PYTHON)),)
ifneq ($(and $(wildcard $(BIN)/python),$(call VERSION_OF,$(PYTHON))),)
ifneq ($(call VERSION_OF,$(PYTHON)),$(call VERSION_OF,$(BIN)/python))
$(info Removing $(VENV), which belongs to another Python)
$(shell rm -rf $(VENV))
endif
endif
endif

.PHONY: test frameworks quick golden lint coverage lock docs demo lab bench clean

define environment
	@$(PYTHON) -c 'import sys; sys.exit("cwnotify needs Python 3.11 or later; try: make PYTHON=python3.11 ..." if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
endef

# Install the locked packages by hash, then this tree. Nothing else is downloaded.
define install
	$(call environment)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
		-r requirements/build.txt -r requirements/$(1).txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
endef

$(VENV)/.demo $(VENV)/.lab $(VENV)/.bench $(VENV)/.docs: $(VENV)/.%: setup.cfg pyproject.toml requirements/build.txt requirements/%.txt
	$(call install,$*)

$(VENV)/.test: setup.cfg pyproject.toml .ci/packages requirements/build.txt requirements/test.txt
	sh .ci/packages
	$(call install,test)

# Tests with real kernels or browsers run again if they fail, and are listed as RERUN.
test: $(VENV)/.test  ## all tests; the last line is pytest's own
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

frameworks: $(VENV)/.test  ## the callbacks with the real Keras, Lightning and Transformers; installs 1.5 GB
	@$(BIN)/python -m pytest -m frameworks

# The core needs the standard library only, so its tests install little.
$(VENV)/.quick: requirements/quick.txt
	$(call environment)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r $<
	@touch $@

quick: $(VENV)/.quick  ## the tests of the core: seconds, no kernel, no browser, no AWS
	@$(BIN)/python -m pytest -q tests/alerts

golden: $(VENV)/.quick  ## update the expected messages of the core's tests; review the diff
	@UPDATE_GOLDEN=1 $(BIN)/python -m pytest -q tests/alerts

lock:  ## resolve all dependencies for every supported Python; review the diff
	sh requirements/lock

docs: $(VENV)/.docs  ## the reference of the public API, as HTML in build/docs
	$(BIN)/python -m docs.make_reference

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell
	$(BIN)/python .ci/check_words.py

coverage: $(VENV)/.test  ## line coverage in this process (not kernels and sidecars), as HTML in build/coverage
	@$(BIN)/python -m pytest -q -n 3 --dist loadfile --ignore tests/e2e --cov=cwnotify --cov-report=html:build/coverage --cov-report=term

demo: $(VENV)/.demo  ## the main features on this machine, without an account
	@$(BIN)/python -m cwnotify.demo notebooks/quickstart.ipynb demo-report/index.html

lab: $(VENV)/.lab  ## JupyterLab and the Slack stand-in
	@$(BIN)/python -m cwnotify.demo --lab notebooks/quickstart.ipynb

bench: $(VENV)/.bench  ## measure cwnotify beside its alternatives; eight minutes
	@$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .matrix build dist *.egg-info demo-report
