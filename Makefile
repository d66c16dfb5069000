# make demo       train a small bilingual assistant from nothing, and prove it (minutes); again: go on with it
# make test       the fast tests (10 minutes or less on two cores)
# make test-all   slow tests and referees too
# make results    labs, bars and benches into docs/results/ (hours)
# make referees   parity with the libraries people trust, in an environment of its own
# make lint       ruff, mypy, and the floors
# make lock       the newest versions that pyproject.toml allows, into the lock files
# ARGS="..." is handed on: make demo ARGS="--minutes 3"; make test ARGS="tests/base -x"

PYTHON ?= python3
FAST = not slow and not referee and not gpu
PYTEST = -m pytest -n auto --dist loadfile
.DEFAULT_GOAL := help
.PHONY: help demo test test-all results referees lint lock clean

help:
	@sed -n '1,/^$$/s/^# //p' Makefile

.venv/.core: requirements.lock scripts/install.py pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "jielong: no Python here: install Python 3.11 or newer"; exit 1; }
	@$(PYTHON) scripts/install.py core
	@touch $@

.venv/.test: .venv/.core requirements-test.lock
	@$(PYTHON) scripts/install.py test
	@touch $@

.venv-referees/.stamp: requirements.lock requirements-test.lock requirements-referees.lock scripts/install.py
	@$(PYTHON) scripts/install.py referees
	@touch $@

demo: .venv/.core
	@.venv/bin/jielong demo $(or $(ARGS),--resume)

test: .venv/.test
	@.venv/bin/python $(PYTEST) -m "$(FAST)" $(ARGS)

test-all: .venv/.test referees
	@JIELONG_SCHEDULES=$${JIELONG_SCHEDULES:-10000} .venv/bin/python $(PYTEST) -m "not referee and not gpu" $(ARGS)

referees: .venv-referees/.stamp
	@.venv-referees/bin/python $(PYTEST) -m "referee and not gpu" $(ARGS)

lint: .venv/.test
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-cache

# The benches run where their peers are installed.
results: .venv/.test .venv-referees/.stamp
	@.venv/bin/jielong lab run --all $(ARGS)
	@for seed in 0 6 7; do \
	  .venv/bin/jielong demo --seed $$seed --out runs/results-$$seed --overwrite --store docs/results || exit 1; done
	@.venv-referees/bin/jielong bench train --compiled --store docs/results
	@.venv-referees/bin/jielong bench infer --store docs/results
	@.venv-referees/bin/python scripts/check_families.py
	@.venv-referees/bin/python scripts/server_results.py
	@.venv-referees/bin/python scripts/server_law.py
	@.venv-referees/bin/python scripts/retrieval.py
	@.venv/bin/python scripts/measure.py
	@.venv/bin/python scripts/measure.py --schedules
	@.venv/bin/jielong lab report

lock:
	@$(PYTHON) -m venv --clear .venv-lock
	@.venv-lock/bin/python -m pip install -q "torch==2.13.0+cpu" || .venv-lock/bin/python -m pip install -q "torch==2.13.0"
	@.venv-lock/bin/python -m pip install -q packaging -e ".[dev]" hatchling editables
	@.venv-lock/bin/python scripts/lock.py core
	@.venv-lock/bin/python -m pip install -q accelerate aiohttp bm25s ctranslate2 datasets diffusers lm-eval openai requests \
		tenacity tensorboard transformers wandb
	@.venv-lock/bin/python scripts/lock.py referees
	@rm -rf .venv-lock

clean:
	rm -rf .venv .venv-referees .venv-lock dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
