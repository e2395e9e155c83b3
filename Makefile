# Needs python3.11 (or newer), python3-venv and make; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo run test backup restore chaos soak bench bench-catalogue bench-large clean

help: ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/run ## runs one whole job on the sample photographs
	$(BIN)/python run.py --demo

run: $(VENV)/run ## starts the service and leaves it running
	$(BIN)/python run.py

test: $(VENV)/dev ## lint, types and the test suite
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto

backup: $(VENV)/run ## saves the private MongoDB's data: make backup FILE=pressroom.tar.gz
	$(BIN)/python -m app.database.backup save $(FILE)

restore: $(VENV)/run ## puts saved data back, the service being stopped: make restore FILE=…
	$(BIN)/python -m app.database.backup restore $(FILE)

chaos: $(VENV)/dev ## kills the service in every way, for long; writes docs/reliability.json
	CHAOS=long $(BIN)/python -m pytest tests/chaos -p no:xdist

soak: $(VENV)/dev ## half an hour of steady work: does memory grow?
	$(BIN)/python benchmarks/soak.py

bench: $(VENV)/dev ## the service beside its peers; writes docs/benchmarks.json (docs/benchmarks.md)
	$(BIN)/python -m benchmarks --out docs

bench-catalogue: $(VENV)/dev ## the same catalogue again, a slow host, a thin one: some 10 minutes
	$(BIN)/python -m benchmarks --catalogue --out docs

bench-large: $(VENV)/dev ## a very large job and catalogue: about half an hour, 10 GB in .data/bench
	$(BIN)/python -m benchmarks --large --out docs

clean: ## removes the virtual environment and caches, never your data
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Stamps: the environment is built anew only when the lists of packages change.
$(VENV)/run: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/dev: $(VENV)/run requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@
