# Needs python3.11 (or newer), python3-venv and make; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests wait more than they work.
TESTERS = $$(( 2 * $$(getconf _NPROCESSORS_ONLN) ))

.DEFAULT_GOAL := help
.PHONY: help demo run test test-scaled screenshots backup restore chaos soak hostile fuzz fuzz-api postman
.PHONY: bench bench-catalogue bench-large bench-scaling quality lock audit clean

help: ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/$(if $(filter celery,$(ENGINE)),dev,run) ## one whole job on the sample photographs
	$(BIN)/python run.py --demo

run: $(VENV)/run ## starts the service and leaves it running
	$(BIN)/python run.py

test: $(VENV)/dev ## lint, types and the test suite
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n $(TESTERS)

test-scaled: $(VENV)/dev ## the tests of whole services once more, on Celery and in an S3 bucket
	TEST_SITE=scaled $(BIN)/python -m pytest -n $(TESTERS)

screenshots: $(VENV)/dev ## pictures the page for docs/screenshots, in Chromium
	SCREENSHOTS=yes $(BIN)/python -m pytest -q tests/page/test_page_access.py

backup: $(VENV)/run ## saves the private MongoDB's data: make backup FILE=pressroom.tar.gz
	$(BIN)/python -m app.database.backup save $(FILE)

restore: $(VENV)/run ## puts saved data back, the service being stopped: make restore FILE=…
	$(BIN)/python -m app.database.backup restore $(FILE)

chaos: $(VENV)/dev ## kills the service in every way, for long; writes docs/reliability.json
	CHAOS=long $(BIN)/python -m pytest tests/chaos -p no:xdist

soak: $(VENV)/dev ## half an hour of steady work: does memory grow?
	$(BIN)/python benchmarks/soak.py

hostile: $(VENV)/dev ## slow hosts, bombs, floods of clients: writes the figures of docs/security.md
	$(BIN)/python -m benchmarks.hostile

fuzz: $(VENV)/dev ## 10,000 broken pictures: none may crash, or come out as what is no picture
	$(BIN)/python -m benchmarks.fuzz_images

fuzz-api: $(VENV)/dev ## some 5,000 calls made from /openapi.json: none may be answered otherwise
	$(BIN)/python -m benchmarks.fuzz_api

postman: $(VENV)/run ## makes docs/postman anew from /openapi.json
	$(BIN)/python -m tools.postman

bench: $(VENV)/dev ## the service beside its peers; writes docs/benchmarks.json (docs/benchmarks.md)
	$(BIN)/python -m benchmarks --out docs

bench-catalogue: $(VENV)/dev ## the same catalogue again, a slow host, a thin one: some 10 minutes
	$(BIN)/python -m benchmarks --catalogue --out docs

bench-large: $(VENV)/dev ## a very large job and catalogue: about 20 minutes, 10 GB in .data/bench
	$(BIN)/python -m benchmarks --large --out docs

bench-scaling: $(VENV)/dev ## images a second by workers of ENGINE=celery: docs/scaling.md
	$(BIN)/python -m benchmarks.scaling --out docs

quality: $(VENV)/quality ## bytes, likeness and CPU of every format; writes docs/quality.md
	$(BIN)/python -m benchmarks.quality --out docs $(if $(PHOTOGRAPHS),--photographs $(PHOTOGRAPHS))

COMPILE = $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	--generate-hashes --custom-compile-command "make lock"

lock: $(VENV)/tools ## writes both .lock files anew: exact versions and hashes, for deployments
	$(COMPILE) requirements.txt --output-file requirements.lock
	$(COMPILE) requirements-scale.txt --constraints requirements.lock \
		--output-file requirements-scale.lock

audit: $(VENV)/tools ## asks the vulnerability database about both; fails on a finding
	$(BIN)/pip-audit --strict --disable-pip --require-hashes -r requirements.lock
	$(BIN)/pip-audit --strict --disable-pip --require-hashes -r requirements-scale.lock

clean: ## removes the virtual environment and caches, never your data
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Stamps: the environment is built anew only when the lists of packages change.
$(VENV)/run: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/dev: $(VENV)/run requirements-dev.txt requirements-scale.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

$(VENV)/quality: $(VENV)/run requirements-bench.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	touch $@

$(VENV)/tools: $(VENV)/run requirements-tools.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-tools.txt
	touch $@
