# Every verb of the project; `make` alone lists them. Which of them CI runs is in .ci/run; the others, above all what
# measures, are for people.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
PYTHON := $(VENV)/bin/python
STAMP := $(VENV)/.installed
SOURCES := plugin webhooks tests e2e
# A cluster of your own: make install KUBECONFIG=...; else the test bed's.
BED_KUBECONFIG := $(CURDIR)/.testbed/kubeconfig
export KUBECONFIG ?= $(BED_KUBECONFIG)
# Where a cluster of your own finds the images; the bed has them imported.
export REGISTRY ?= hasgpu.local
ON_BED := $(filter $(BED_KUBECONFIG),$(abspath $(KUBECONFIG)))
export PATH := $(CURDIR)/.testbed/bin:$(PATH)

.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^##@/ {print "\n" substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Work on the code

.PHONY: setup
setup: $(STAMP) ## create .venv with everything the verbs below need

# On a bare Debian or Ubuntu, as root, what is missing of the tools comes from packages.
$(STAMP): setup.cfg
	command -v gcc >/dev/null || { apt-get update -qq && apt-get install -qq -y gcc libc6-dev; }
	test -x $(PYTHON) || python3 -m venv $(VENV) || \
	  { apt-get update -qq && apt-get install -qq -y python3-venv && python3 -m venv --clear $(VENV); }
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

.PHONY: format
format: setup ## format the sources
	$(VENV)/bin/ruff format $(SOURCES)
	$(VENV)/bin/ruff check --fix --quiet $(SOURCES)

.PHONY: lint
lint: setup ## style and format, changing nothing
	$(VENV)/bin/ruff check $(SOURCES)
	$(VENV)/bin/ruff format --check --quiet $(SOURCES)

.PHONY: types
types: setup ## mypy --strict
	$(VENV)/bin/mypy

.PHONY: contracts
contracts: setup ## who may import whom
	$(VENV)/bin/lint-imports

.PHONY: test
test: setup ## unit tests: no cluster, no GPU, under two minutes (TEST="tests/decision -k panic" picks)
	$(VENV)/bin/pytest $(if $(TEST),$(TEST),--numprocesses auto --dist worksteal)

.PHONY: check
check: lint types contracts test ## all of the above but setup and format: what a change must pass

##@ The latency predictor: published data, not part of a clone (DATA=FOLDER names another place)

DATA ?= ../shared/data
RAPP := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(PYTHON) -m

.PHONY: train-rapp
train-rapp: setup ## train the packaged reference model: one core, the same bytes each time
	@test -d $(DATA)/open || { echo "no data at $(DATA)/open: set DATA=FOLDER"; exit 1; }
	$(RAPP) hasgpu.fitter train plugin/hasgpu/prediction/reference.json --data $(DATA)/open

.PHONY: bench-rapp
bench-rapp: setup ## score predictor and forecast by the fixed protocols (ASIDE=FOLDER: models kept aside; ONLY="random sm")
	@test -d $(DATA)/open || { echo "no data at $(DATA)/open: set DATA=FOLDER"; exit 1; }
	$(RAPP) hasgpu.cli profile evaluate --data $(DATA) $(if $(ASIDE),--aside $(ASIDE)) $(addprefix --only ,$(ONLY))

##@ The test bed: real Kubernetes and Knative on this machine, with emulated GPUs (needs root, no docker)

.PHONY: testbed-up
testbed-up: setup ## build what is missing (minutes at first) and start the bed
	$(PYTHON) -m e2e.testbed up

.PHONY: testbed-down
testbed-down: setup ## stop the bed and leave nothing behind
	$(PYTHON) -m e2e.testbed down

.PHONY: testbed-status
testbed-status: setup ## what runs
	$(PYTHON) -m e2e.testbed status

.PHONY: testbed-logs
testbed-logs: setup ## last lines of each program (NAME=kubelet, NAME=namespace/pod)
	$(PYTHON) -m e2e.testbed logs $(NAME)

.PHONY: images
images: setup ## build this project's images and import them into the bed
	$(PYTHON) -m e2e.testbed images

.PHONY: image-archives
image-archives: setup ## the images as OCI archives in dist/, to be pushed to a registry or imported into nodes
	$(PYTHON) -m e2e.testbed images --output dist

##@ A cluster: the bed, or yours by KUBECONFIG=...

.PHONY: install
install: setup ## install hasgpu; Knative's own autoscaler is kept for uninstall (REGISTRY=... of your own, YES=1: unasked)
	$(PYTHON) -m hasgpu.cli install --registry $(REGISTRY) $(if $(ON_BED),--yes --restart,$(if $(YES),--yes)) $(if $(FORCE),--force)

.PHONY: uninstall
uninstall: setup ## remove it; refuses while GPU services exist (FORCE=1 deletes them first)
	$(PYTHON) -m hasgpu.cli uninstall $(if $(FORCE),--force)

.PHONY: demo
demo: setup ## the whole story: load, vertical, horizontal, zero, wake-up (FAST=1: three minutes)
ifdef ON_BED
	$(MAKE) --no-print-directory testbed-up images install
	$(PYTHON) -m e2e.demo $(if $(FAST),--fast)
else
	if kubectl get crd gpus.hasgpu.dev >/dev/null 2>&1; then \
	  $(PYTHON) -m e2e.demo $(if $(FAST),--fast); \
	else \
	  $(PYTHON) -m hasgpu.cli install --registry $(REGISTRY) $(if $(YES),--yes) || exit 1; \
	  trap '$(PYTHON) -m hasgpu.cli uninstall' EXIT; \
	  $(PYTHON) -m e2e.demo $(if $(FAST),--fast); \
	fi
endif

.PHONY: e2e
e2e: setup ## the scenarios, on a cluster with hasgpu installed (TEST="e2e/scenarios/test_slice.py" picks)
	$(VENV)/bin/pytest --timeout=600 $(if $(TEST),$(TEST),e2e/scenarios)

.PHONY: chaos
chaos: setup ## kill each component again and again under load (ARGS="--help")
	$(PYTHON) -m e2e.chaos $(ARGS)

.PHONY: bench-startup
bench-startup: setup ## seconds from a GPU pod's creation to its slice and to Ready, hasgpu installed (ARGS="--count 20")
	$(PYTHON) -m e2e.startup $(ARGS)

##@ Beside Knative's own autoscaler

.PHONY: conformance
conformance: setup ## our decisions against Knative's own Go code, random lives and PodAutoscalers (SEED=7 STEPS=100000)
	$(PYTHON) -m e2e.conformance compare --seed $(or $(SEED),1) --steps $(or $(STEPS),1000000)
	$(PYTHON) -m e2e.conformance.record reconciler --seed $(or $(SEED),1) --cases $(or $(CASES),20000)

.PHONY: conformance-branches
conformance-branches: setup ## that those random lives take every branch of ours a thousand times; needs no Go
	$(PYTHON) -m e2e.conformance branches --seed $(or $(SEED),1) --steps $(or $(STEPS),1000000)

.PHONY: conformance-mutants
conformance-mutants: setup ## that Knative's stored answers tell mistakes planted in our code; needs no Go
	$(PYTHON) -m e2e.conformance.mutants

.PHONY: knative-e2e
knative-e2e: setup ## Knative's own end-to-end tests on the bed (AUTOSCALER=ours|upstream ROUNDS=1), then both side by side
	$(PYTHON) -m e2e.knative run --autoscaler $(or $(AUTOSCALER),ours) --rounds $(or $(ROUNDS),1) || true
	$(PYTHON) -m e2e.knative table

# A network of its own: both autoscalers want port 8080, and the fake queue-proxies 9090, on every address.
ISOLATED := unshare --net sh -c 'ip link set lo up && ip address add 192.0.2.2/24 dev lo && exec "$$@"' -

.PHONY: bench-autoscaler
bench-autoscaler: setup ## CPU, memory, latency, restart of both autoscalers (ARGS="-n 5000 --mode push"; CLASS=has: of GPU services; root)
	$(ISOLATED) $(PYTHON) -m e2e.autoscaler_bench$(if $(filter has,$(CLASS)),.has) $(ARGS)

.PHONY: bench-outage
bench-outage: setup ## how soon both autoscalers act again after an outage of the API server or of themselves (needs root)
	$(ISOLATED) $(PYTHON) -m e2e.autoscaler_bench.outage $(ARGS)

.PHONY: faults
faults: setup ## what breaks around a replica, one test each: nothing scales for it
	$(VENV)/bin/pytest -v tests/autoscaler/test_faults.py tests/stats/test_scraper.py tests/stats/test_server.py tests/cluster/test_reflector.py

.PHONY: conformance-record
conformance-record: setup ## store Knative's answers anew, after its version was changed
	$(PYTHON) -m e2e.conformance.record tests
	$(PYTHON) -m e2e.conformance store

.PHONY: evaluate
evaluate: setup ## every experiment in the simulator; writes docs/evaluation.md, <= 30 min (ARGS="--only authors --seeds 2")
	$(PYTHON) -m e2e.evaluation $(ARGS)

.PHONY: bench
bench: setup ## simulated requests a second of one core, and what a decision costs, in four minutes
	$(PYTHON) -m e2e.evaluation.bench

.PHONY: bench-dataplane
bench-dataplane: setup ## gate, shares, wake-ups, lending, kills on the emulated GPU, each beside its goal (ARGS="--fast gate")
	$(PYTHON) -m e2e.dataplane $(ARGS)

.PHONY: gpu-conformance
gpu-conformance: setup ## what only a GPU can show: driver, MPS, shares, PyTorch, as JSON, <= 10 min (ARGS="--keep-compute-mode")
	$(PYTHON) -m e2e.gpu_conformance $(ARGS)

.PHONY: clean
clean: ## remove caches and build products, but not the bed's (see testbed-down) nor .venv
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage build *.egg-info
	$(MAKE) --no-print-directory -C plugin/shim clean
	$(MAKE) --no-print-directory -C e2e/emulated_gpu clean
	$(MAKE) --no-print-directory -C e2e/dataplane clean
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
