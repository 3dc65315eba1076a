PYTHON ?= python3
VENV := .venv/bin
UV ?= uv
LOCK = $(UV) pip compile --generate-hashes --universal --python-version 3.11 --no-header --quiet

.DEFAULT_GOAL := help
.PHONY: help run password manage test chaos fuzz benchmark simulate lint format lock rehearse screenshots clean

help: ## Show what there is
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## Install what is missing, run the sample experiment, serve on http://127.0.0.1:8000 (PORT=...)
	@$(PYTHON) scripts/bootstrap.py run

password: ## Set another password for the user admin of `make run`
	@$(PYTHON) scripts/bootstrap.py manage changepassword admin

manage: ## Any manage.py command on the data of `make run`: make manage ARGS="run_experiment --help"
	@$(PYTHON) scripts/bootstrap.py manage $(ARGS)

test: ## Run all tests that can run here; say what could not
	@$(PYTHON) scripts/bootstrap.py dev
	@$(VENV)/python scripts/test.py

chaos: ## Kill, freeze and wipe every part while 10,000 cells run; a table of what held (20 minutes)
	@$(PYTHON) scripts/bootstrap.py dev
	$(VENV)/python -m tests.chaos $(ARGS)

fuzz: ## Ask the API 20,000 made-up things, the console 2,000, and throw bombs at both (10 minutes): ARGS="--seed 7"
	@$(PYTHON) scripts/bootstrap.py dev
	$(VENV)/python -m tests.fuzz $(ARGS)

benchmark: ## Measure the run engine beside a bare loop of requests: make benchmark ARGS="--cells 10000"
	@$(PYTHON) scripts/bootstrap.py dev
	$(VENV)/python -m benchmarks.engine $(ARGS)

simulate: ## Show by thousands of data sets that intervals and verdicts hold (10 minutes): ARGS="--sets 1000"
	@$(PYTHON) scripts/bootstrap.py dev
	$(VENV)/python -m benchmarks.simulation $(ARGS)

lint: ## Check style, types, templates, unsafe calls and missing migrations
	@$(PYTHON) scripts/bootstrap.py dev
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	DEBUG=1 $(VENV)/mypy .
	$(VENV)/djlint --lint --quiet templates
	$(VENV)/bandit -c pyproject.toml -q -ll -r evalsuite experiments llm_routing playground scripts manage.py
	DEBUG=1 $(VENV)/python manage.py makemigrations --check --dry-run

format: ## Put the code into its usual form
	@$(PYTHON) scripts/bootstrap.py dev
	$(VENV)/ruff check --fix --exit-zero .
	$(VENV)/ruff format .

lock: ## Resolve requirements/*.txt anew (needs uv)
	$(LOCK) pyproject.toml --extra postgres --fork-strategy fewest -o requirements/runtime.txt
	$(LOCK) pyproject.toml --extra postgres --extra otel -c requirements/runtime.txt --fork-strategy fewest \
	  -o requirements/image.txt
	$(LOCK) pyproject.toml --extra postgres --extra otel --group dev -c requirements/runtime.txt --fork-strategy fewest \
	  -o requirements/dev.txt
	$(LOCK) requirements/assets.in --no-deps --no-annotate -o requirements/assets.txt
	$(LOCK) requirements/installer.in --no-annotate -o requirements/installer.txt
	$(LOCK) requirements/embedded.in --no-deps --no-annotate -o requirements/embedded.txt

rehearse: ## Run each step of the Dockerfile and then the image, without Docker (needs root, debootstrap)
	@$(PYTHON) scripts/bootstrap.py dev
	$(VENV)/python scripts/rehearse_image.py $(ARGS)

screenshots: ## Make the pictures of the README from a running product (needs Chromium)
	@$(PYTHON) scripts/bootstrap.py dev
	$(VENV)/python scripts/screenshots.py

clean: ## Remove the virtual environment and all caches; your data in var/ stays
	rm -rf .venv staticfiles .mypy_cache .ruff_cache .pytest_cache .hypothesis .schemathesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
