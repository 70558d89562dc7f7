.DEFAULT_GOAL := help
.PHONY: help install format lint test test-fast test-ray test-nightly test-gpu check run demo demo-model load profile requirements proto image
BIN := .venv/bin
SCENARIO ?= help
CONFIG ?= serve_config.yaml
TARGET ?= cpu
IMAGE ?= sightline:$(TARGET)
BUILD ?= --load
UV_COMPILE := uv pip compile -q --python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes --no-emit-index-url --no-header

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

install: .venv/.installed ## the environment, from the hashed requirement files
.venv/.installed: requirements/dev.txt pyproject.toml
	python3 -m venv .venv && $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e . && touch $@

run: install ## the service on this machine, until Ctrl-C [CONFIG=deployments/colocated.yaml]
	@$(BIN)/python -m deployments $(CONFIG)

demo: install ## a street clip through a running service: annotated video and contact sheet in out/
	@$(BIN)/python -m load_tests.demo

test: install ## the whole suite; GPU tests skip with their reason
	$(BIN)/python -m pytest tests

test-fast: install ## what needs no Ray and no server
	$(BIN)/python -m pytest tests/unit tests/contract tests/api tests/config

test-ray: install ## what needs a real local cluster
	$(BIN)/python -m pytest tests/ray tests/e2e

test-nightly: install ## what waits for minutes: heads that die, and the like
	$(BIN)/python -m pytest -m nightly tests

test-gpu: install ## what needs a GPU; fails without one
	FAIL_WITHOUT_GPU=1 $(BIN)/python -m pytest tests/gpu

format: install ## lay the code out
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lint: install ## ruff, mypy strict, the layers
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports

check: lint test ## what CI runs

load: install ## evidence: make load SCENARIO=decode (or tracker, image-efficiency, video-efficiency, memory, streams, time-true, outbox, batcher, swaps, gpu-faults, autoscale, queueing, overload, tenants, kills, cameras, peers)
	@$(BIN)/python -m load_tests.$(subst -,_,$(SCENARIO))

profile: install ## flame graphs of a running service under load, in out/
	@$(BIN)/python -m load_tests.profile

demo-model: install .venv-export/.installed ## train and export the bundled model (about an hour on two cores)
	.venv-export/bin/python -m engines.demo_model.train
.venv-export/.installed: requirements/export.txt
	python3 -m venv .venv-export && .venv-export/bin/pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements/export.txt && touch $@

proto: install ## what follows from proto/sightline/v1/vision.proto: messages, schemas, types
	$(BIN)/python proto/generate.py

image: ## the container image, with docker buildx [TARGET=gpu IMAGE=name BUILD="--push --sbom=true"]
	docker buildx build --file kuberay/image/Dockerfile --target $(TARGET) --tag $(IMAGE) $(BUILD) .

requirements: ## pin and hash anew (needs uv)
	for set in runtime dev gpu; do $(UV_COMPILE) requirements/$$set.in -o requirements/$$set.txt; done
	$(UV_COMPILE) --no-deps requirements/export.in -o requirements/export.txt
