# Everything here runs as root on a bare Debian 12 or Ubuntu 22.04 machine: what is missing is installed.

IMAGE ?= truenas-maas:3.5
TARGET ?= production
MAAS_SOURCE ?= auto
# The image that `make test` builds and tries. Always with the simulator: its results do not depend on the network.
TEST_IMAGE ?= maas-init-test:3.5

export MAAS_SOURCE BASE_IMAGE TARGET IMAGE

VENV := . .venv/bin/activate &&

.PHONY: help image test-image test-packages demo demo-stop test check lint types unit process container matrix fuzz bench \
    faults screenshots reference docs audit lock clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  IMAGE=$(IMAGE) TARGET=$(TARGET) BASE_IMAGE=ubuntu:22.04|debian:12 MAAS_SOURCE=auto|ppa|simulator|local"

image: ## Build the image
	tests/tools/image

demo: image ## Run MAAS in one container on this machine and show it coming up
	tests/tools/demo

demo-stop: ## Remove the demo
	tests/tools/demo stop

test: check container ## Everything: lint, types, and all tests, also those in containers

check: lint types unit process ## Everything that needs no container

.venv: FORCE
	@tests/tools/venv

lint: .venv ## Style of the source
	$(VENV) ruff check
	$(VENV) ruff format --check

types: .venv ## Types
	$(VENV) mypy

test-packages:
	@tests/tools/test-packages

unit: .venv test-packages ## Tests without processes of their own
	$(VENV) pytest -m "not process and not container" -n 2 --dist loadfile

process: .venv test-packages ## Tests with real signals and a real supervisord
	$(VENV) pytest -m process -n 2 --dist loadfile

container: .venv test-packages test-image ## Tests of the built image in a real Docker engine
	$(VENV) MAAS_INIT_IMAGE=$(TEST_IMAGE) pytest -m container -n 2 --dist loadfile --no-loadscope-reorder --durations 15

matrix: .venv test-packages test-image ## Start it in every way there is and write docs/reference/ways-to-start.md
	$(VENV) MAAS_INIT_MATRIX=all MAAS_INIT_IMAGE=$(TEST_IMAGE) pytest --timeout 7200 tests/container/test_matrix.py

screenshots: .venv test-packages test-image ## Look at our pages in a browser; the pictures go to docs/images
	$(VENV) MAAS_INIT_SCREENSHOTS=docs/images MAAS_INIT_IMAGE=$(TEST_IMAGE) pytest tests/container/test_pages.py

test-image:
	tests/tools/engine compose
	IMAGE=$(TEST_IMAGE) MAAS_SOURCE=simulator TARGET=production tests/tools/image

fuzz: .venv ## 10,000 cases for everything that listens; part of the process tests with fewer
	$(VENV) MAAS_INIT_FUZZ_CASES=10000 pytest tests/test_fuzz.py --durations 10

bench: .venv ## Measure it beside other supervisors (BENCH_ARGS="--repetitions 3 --only crash" for less)
	@bench/prepare
	$(VENV) python -m bench $(BENCH_ARGS)

faults: .venv test-packages test-image ## Break things in a container and write down what was seen (docs/explanation)
	rm -rf build/faults
	$(VENV) MAAS_INIT_IMAGE=$(TEST_IMAGE) pytest tests/container/test_healing.py
	$(VENV) python -m tests.container.faults

reference: .venv ## Write the generated pages of docs/reference anew
	$(VENV) python -c 'import pathlib; from maas_init.reference import PAGES; [pathlib.Path("docs/reference", name).write_text(make()) for name, make in PAGES.items()]'

docs: .venv ## Make a site of the documentation in build/docs/site; what a link leads to must be there
	tests/tools/docs

audit: .venv ## Ask the Python advisory database about requirements*.txt; says so when it cannot be reached
	@tests/tools/audit

lock: ## Write requirements*.txt anew from pyproject.toml (LOCK_FLAGS=--upgrade for newer versions)
	tests/tools/lock $(LOCK_FLAGS)

clean: demo-stop ## Remove what was made here
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
	tests/tools/engine down

FORCE:
