# Everything a person does with this folder. Each target sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: test lint demo lab bench clean

$(VENV)/.demo: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("cwnotify needs Python 3.11 or later; try: make PYTHON=python3.11 ..." if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	sh .ci/packages
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

$(VENV)/.lab: $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[lab]'
	@touch $@

$(VENV)/.bench: $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

test: $(VENV)/.test  ## all tests; the last line is pytest's own
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

demo: $(VENV)/.demo  ## the main job on this machine, without any account
	@$(BIN)/python -m cwnotify.demo notebooks/quickstart.ipynb demo-report/index.html

lab: $(VENV)/.lab  ## JupyterLab and the Slack stand-in, to play with
	@$(BIN)/python -m cwnotify.demo --lab notebooks/quickstart.ipynb

bench: $(VENV)/.bench  ## measure what the README claims, beside what one would use instead; eight minutes
	@$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .matrix build dist *.egg-info demo-report
