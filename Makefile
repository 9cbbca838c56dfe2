# What a person runs. Each target sets up what it needs; nothing but Python 3.11 or 3.12, git and make must be there.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-quick up down test test-all test-further coverage lint format bench lock docs clean
BIN := .venv/bin
# Whole files to each core; more than four at once would mostly wait for memory.
PARALLEL := -n logical --maxprocesses 4 --dist loadfile
# Tests of the further tiers wait for servers and jobs of their own a good part of their time: one more than cores.
FURTHER := -n $(shell expr $$(nproc) + 1) --maxprocesses 4 --dist loadfile

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## build .venv from the hash-pinned locks
	@scripts/setup.sh

demo: setup ## the whole loop on real data: release, drift, retrain, better release; ends with a page of pictures (10 minutes)
	@$(BIN)/python -m scripts.demo

demo-quick: setup ## its first part alone: fine-tune, judge and promote a real model through Airflow
	@$(BIN)/python -m scripts.demo --quick

up: setup ## start Airflow and MLflow on this machine (loopback only)
	@$(BIN)/python -m scripts.embedded up

down: ## stop what `make up` or `make demo` started, and nothing else
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m scripts.embedded down; else echo "nothing was started: there is no .venv"; fi

test: setup ## the tests that need nothing outside (under 3 minutes)
	@$(BIN)/python -m pytest $(PARALLEL)

test-all: setup ## every tier that can run on this machine
	@$(BIN)/python -m pytest $(PARALLEL) -m ""

test-further: setup ## the tiers beyond the default one: real Airflow, MLflow, databases, browser, faults (a quarter of an hour)
	@$(BIN)/python -m pytest $(FURTHER) -m "integration or services or faults or browser"

coverage: setup ## the default tier, with the lines that it does not reach
	@$(BIN)/python -m pytest $(PARALLEL) --cov --cov-report=term

lint: setup ## format, lint, types, layers, generated documents
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m scripts.reference --check

format: setup ## rewrite the code as `make lint` wants it
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: setup ## write the generated documents anew
	@$(BIN)/python -m scripts.reference

bench: setup ## measure every claim of docs/benchmarks.md (about an hour); one: make bench ONLY=gate
	@$(BIN)/python -m benchmarks $(ONLY)

lock: setup ## resolve requirements.txt into the locks again
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m scripts.lock

clean: ## remove .venv, caches and everything made at run time (asks first where there are models; YES=1 does not)
	@scripts/clean.sh
