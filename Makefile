# `make install` makes .venv with kcl-app in it; `make demo` shows the whole system; `make test` checks everything.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install test lint lint-deploy demo clean \
	bench bench-stages bench-growth bench-memory bench-patterns bench-isolation bench-hl7v2

install: $(STAMP)

# Made anew when the dependencies change; pip leaves alone what fits already.
$(STAMP): setup.cfg constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; say which with: make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[test]'
	@touch $@

test: lint lint-deploy
	$(BIN)/python scripts/fetch_fhir_examples.py
	$(BIN)/python scripts/fetch_event_ruler.py
	# Several at once: the tests with the real KCL mostly wait.
	$(BIN)/pytest -n 3 --dist worksteal

lint: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# Templates, Dockerfile and compose.yaml, by linters with a virtual environment of their own (.local/lint).
lint-deploy: install
	$(BIN)/python scripts/lint_deploy.py

# Such as: make bench LOADS=burst,trickle SCALE=0.1 JSON=figures.json; BENCH=--help shows all options.
bench: install
	$(BIN)/python -m benchmarks.run $(if $(LOADS),--loads $(LOADS)) $(if $(SIDES),--sides $(SIDES)) \
		$(if $(SCALE),--scale $(SCALE)) $(if $(STORE),--store $(STORE)) $(if $(JSON),--json $(JSON)) $(BENCH)

# Where a child's CPU goes. Such as: make bench-stages STAGES="--load trickle --store dynoxide"
bench-stages: install
	$(BIN)/python -m benchmarks.stages $(STAGES)

# How the cost of an event, and a child's memory, grow. Such as: make bench-growth JSON=growth.json PNG=growth.png
bench-growth: install
	$(BIN)/python -m benchmarks.growth $(if $(JSON),--json $(JSON)) $(if $(PNG),--png $(PNG)) $(GROWTH)

bench-memory: install
	$(BIN)/python -m benchmarks.growth_memory $(if $(JSON),--json $(JSON)) $(MEMORY)

# How fast event patterns are matched.
bench-patterns: install
	$(BIN)/python -m benchmarks.patterns $(if $(JSON),--json $(JSON))

# What a plugin costs in a process of its own.
bench-isolation: install
	$(BIN)/python -m benchmarks.isolation $(if $(JSON),--json $(JSON))

# How fast HL7 v2 messages are decoded.
bench-hl7v2: install
	$(BIN)/python -m benchmarks.hl7v2 $(if $(JSON),--json $(JSON))

# KEEP=1 leaves everything running.
demo: install
	$(BIN)/kcl-app demo $(if $(KEEP),--keep)

# The local cloud must be stopped before its folder goes.
clean:
	@test ! -x $(BIN)/kcl-app || $(BIN)/kcl-app local stop
	rm -rf $(VENV) .local .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
