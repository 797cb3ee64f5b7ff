# What CI does, one target at a time, from a clean clone: `make lint types test docs bench attack`.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: lint types test docs bench bench-peers attack attack-crash attack-rest

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -e ".[test]"
	touch $@

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed
	$(BIN)/pyright
	$(BIN)/mypy

test: .venv/installed
	$(BIN)/pytest -q

docs: .venv/installed
	$(BIN)/pytest -q tests/docs

bench: .venv/installed
	$(BIN)/python benchmarks/engine.py

# The same graphs on other engines, each in an environment of its own under .peers/.
bench-peers: .venv/installed
	$(BIN)/python benchmarks/peers.py

# Two halves side by side: what kills processes and disks, and what attacks in this process.
attack: .venv/installed
	$(MAKE) -j2 --output-sync=target attack-crash attack-rest

ATTACK := TREADLE_ATTACK=1 HYPOTHESIS_PROFILE=attack $(BIN)/pytest -q -m "attack or hypothesis" --timeout=3600

attack-crash: .venv/installed
	$(ATTACK) tests/crash

attack-rest: .venv/installed
	$(ATTACK) --ignore=tests/crash
