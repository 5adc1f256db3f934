# Everyday commands. Each one first runs scripts/setup, which returns at once when .venv is up to date.
.DEFAULT_GOAL := help
.PHONY: help setup demo story test-fast test test-long test-versions check docs gpu-check bench clean

VENV := .venv/bin
BENCHES := $(wildcard bench/throughput.py bench/two_process.py bench/orchestration.py)

export RAY_USAGE_STATS_ENABLED := 0
export VLLM_NO_USAGE_STATS := 1

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Build or update .venv (PYTHON=/path/to/python, EXTRA=cpu|gpu)
	@scripts/setup

demo: setup ## Evaluate the bundled demo model on this machine: no GPU, no download
	$(VENV)/safechain-ray evaluate --config configs/quickstart.yaml --output runs/demo

story: setup ## Make the demo model safer: evaluate, build a training set, fine-tune, evaluate again (about 7 minutes)
	@scripts/story

test-fast: setup ## Run the fast tests in under 2 minutes: no engine, no Ray, no browser, no sandbox
	@scripts/test fast

test: setup ## Run the tests (ARGS="tests/unit -k floors" for some of them)
	@scripts/browser
	@scripts/sandbox
	@scripts/test $(ARGS)

test-long: setup ## Run the tests that take minutes: faults on real clusters, jobs, sweeps, every reference solution
	@scripts/sandbox
	@scripts/test -m long tests

test-versions: setup ## Test the oldest and the newest supported Ray and vLLM, in .venvs/ (ARGS="--help")
	@$(VENV)/python scripts/test_versions.py $(ARGS)

check: setup docs ## Lint, format check, types, prose, docs, known vulnerabilities of installed packages
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy
	$(VENV)/python scripts/prose.py
	@$(VENV)/python scripts/audit.py

docs: setup ## Build the documentation as a site into site/ (PYTHONPATH=. .venv/bin/mkdocs serve shows it)
	@PYTHONPATH=. NO_MKDOCS_2_WARNING=1 $(VENV)/mkdocs build --strict --quiet
	@echo "Built site/. To read it: PYTHONPATH=. $(VENV)/mkdocs serve"

gpu-check: setup ## Check this machine's GPU in about ten minutes (ARGS="--step engine", docs/gpu.md)
	$(VENV)/safechain-ray doctor --gpu-check $(ARGS)

bench: setup ## Run the benchmarks of bench/, each prints a ratio
	@set -e; for script in $(BENCHES); do echo "== $$script"; $(VENV)/python $$script; done

clean: ## Remove caches and built packages (keeps .venv, .venvs and runs/)
	rm -rf build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv/*' -not -path './.venvs/*' -prune -exec rm -rf {} +
