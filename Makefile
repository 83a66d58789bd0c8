# Everything a person does with this folder. Each target sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VERSION_OF = $(shell $(1) -c 'import sys; print(sys.version_info[:2])' 2>/dev/null)

# `make test PYTHON=python3.13` must not pass with the environment that another Python has made.
ifneq ($(filter command environment,$(origin PYTHON)),)
ifneq ($(and $(wildcard $(BIN)/python),$(call VERSION_OF,$(PYTHON))),)
ifneq ($(call VERSION_OF,$(PYTHON)),$(call VERSION_OF,$(BIN)/python))
$(info Removing $(VENV), which another Python made)
$(shell rm -rf $(VENV))
endif
endif
endif

.PHONY: test frameworks quick golden lint coverage lock docs demo lab bench clean

define environment
	@$(PYTHON) -c 'import sys; sys.exit("cwnotify needs Python 3.11 or later; try: make PYTHON=python3.11 ..." if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
endef

# What is locked with hashes, and then this tree: nothing else is downloaded, not even to build it.
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

# Real kernels and browsers share two cores here: a test of theirs that fails is tried once more, and listed as RERUN.
test: $(VENV)/.test  ## all tests; the last line is pytest's own
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

frameworks: $(VENV)/.test  ## the callbacks with the real Keras, Lightning and Transformers; installs 1.5 GB
	@$(BIN)/python -m pytest -m frameworks

# The core is the standard library's own: a newcomer need not wait for what the rest stands on.
$(VENV)/.quick: requirements/quick.txt
	$(call environment)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r $<
	@touch $@

quick: $(VENV)/.quick  ## the tests of the core: seconds, no kernel, no browser, no AWS
	@$(BIN)/python -m pytest -q tests/alerts

golden: $(VENV)/.quick  ## write the messages that the tests of the core expect anew; read the diff
	@UPDATE_GOLDEN=1 $(BIN)/python -m pytest -q tests/alerts

lock:  ## resolve all dependencies again, for every Python that is supported; read the diff
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

coverage: $(VENV)/.test  ## which lines the tests in this process run, as HTML in build/coverage; not those of kernels and sidecars
	@$(BIN)/python -m pytest -q -n 3 --dist loadfile --ignore tests/e2e --cov=cwnotify --cov-report=html:build/coverage --cov-report=term

demo: $(VENV)/.demo  ## the main job on this machine, without any account
	@$(BIN)/python -m cwnotify.demo notebooks/quickstart.ipynb demo-report/index.html

lab: $(VENV)/.lab  ## JupyterLab and the Slack stand-in, to play with
	@$(BIN)/python -m cwnotify.demo --lab notebooks/quickstart.ipynb

bench: $(VENV)/.bench  ## measure what the README claims, beside what one would use instead; eight minutes
	@$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .matrix build dist *.egg-info demo-report
