# One virtual environment for everything. `make` alone lists the targets.
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
PORT ?= 8000
BIN := $(VENV)/bin
DEMO := runs/demo artifacts/demo
ARTIFACT ?= artifacts/demo
DATA ?= runs/demo-log
TRAIN ?= $(DATA)

.DEFAULT_GOAL := help
.PHONY: help setup demo smoke test lint bench clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet '$(TORCH)'
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

setup: $(VENV)/.ready ## make the virtual environment (TORCH=... picks another torch build)

artifacts/demo/manifest.json: | $(VENV)/.ready
	test -f runs/demo-log/train.jsonl.gz || $(BIN)/astec-train demo-log runs/demo-log
	rm -rf runs/demo artifacts/demo
	$(BIN)/astec-train runs/demo-log runs/demo --config trainer/recipes/demo.toml
	$(BIN)/astec-export runs/demo artifacts/demo

demo: artifacts/demo/manifest.json ## train on the demo log, export, and serve it on port 8000 (PORT=...)
	$(BIN)/astec-evaluate artifacts/demo runs/demo-log
	@echo
	@echo "Try: curl -s localhost:$(PORT)/predict -H 'content-type: application/json' -d '{\"query\": \"cheap running shoes\"}'"
	@echo "or open http://localhost:$(PORT)/ in a browser. Ctrl-C stops the server."
	$(BIN)/astec-serve artifacts/demo --port $(PORT)

smoke: artifacts/demo/manifest.json ## the same on a free port: send queries, check the answers, stop
	$(BIN)/python -m tests.smoke artifacts/demo runs/demo-log

# A file of tests stays in one process, which makes the models that its tests share once. With a thread each, because
# libraries that start as many as there are CPUs in every process wait for one another.
test: $(VENV)/.ready ## run the tests with coverage, several files at once
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile --cov --cov-report=term

lint: $(VENV)/.ready ## ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: | $(VENV)/.ready ## measure in process, over HTTP, beside peers and as labels grow (ARTIFACT=, DATA=, TRAIN=, BENCH=--quick)
	test -f $(ARTIFACT)/manifest.json || $(MAKE) artifacts/demo/manifest.json
	$(BIN)/python -m loadtest.bench $(ARTIFACT) $(DATA) --train $(TRAIN) $(BENCH)

clean: ## remove what the targets above made
	rm -rf $(VENV) build *.egg-info runs artifacts .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis
