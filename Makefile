# Everything here works from a fresh clone; `make help` lists it. PYTHON picks the interpreter for the virtual environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SITES ?= 2
NODES_PER_SITE ?= 1
ARGS ?=
PROTO := edgemodel_server/grpc/open_inference.proto
PROTOC = $(BIN)/python -m grpc_tools.protoc -Iinference-image

.DEFAULT_GOAL := help
.PHONY: help demo demo-down cluster cluster-down cluster-status images install-yaml test test-unit test-browser abuse test-api test-e2e run check check-generated crds docs protos format bench-control-plane bench-compression bench-serving corpus fuzz-server clean

help: ## this list
	@echo "EdgeModel: make <target>"
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml
	@echo "Installing the Python packages into $(VENV) (once; a few minutes)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(STAMP) ## the main job on real input: train, compress, roll out to two sites, predict, scale
	@$(BIN)/python -m tests.demo $(ARGS)

demo-down: $(STAMP) ## remove everything that `make demo` made
	@$(BIN)/python -m tests.demo down

cluster: $(STAMP) ## a local Kubernetes with a core node and edge sites (SITES=2 NODES_PER_SITE=1)
	@$(BIN)/python -m tools.localcluster up --sites $(SITES) --nodes-per-site $(NODES_PER_SITE) $(ARGS)

cluster-status: $(STAMP) ## what of the local cluster runs
	@$(BIN)/python -m tools.localcluster status

cluster-down: $(STAMP) ## stop the local cluster and leave nothing behind
	@$(BIN)/python -m tools.localcluster down

images: $(STAMP) ## build the three images and push them to the local registry
	@$(BIN)/python -m tools.localcluster.images $(ARGS)

install-yaml: $(STAMP) ## install.yaml and the Helm chart, into dist/ (ARGS="--registry ghcr.io/you/edgemodel")
	@$(BIN)/python -m tools.release dist $(ARGS)

test: $(STAMP) check ## everything: checks, unit, api and e2e tests, with all they need
	@$(BIN)/python -m pytest tests/unit tests/corpus tests/browser tests/abuse tests/api tests/cluster tests/e2e --durations=15 $(ARGS)

test-unit: $(STAMP) ## pure logic, and programs on their own
	@$(BIN)/python -m pytest tests/unit $(ARGS)

test-browser: $(STAMP) ## the server's page in a real headless browser
	@$(BIN)/python -m pytest tests/browser $(ARGS)

abuse: $(STAMP) ## long attacks on the running server, beside clients whose waits are held to what is promised
	@$(BIN)/python -m pytest tests/abuse --long $(ARGS)

test-api: $(STAMP) ## the operator against a real kube-apiserver, controller-manager and etcd
	@$(BIN)/python -m pytest tests/api $(ARGS)

test-e2e: $(STAMP) ## the whole local cluster: sites cut off, operator killed, bad input
	@$(BIN)/python -m pytest tests/cluster tests/e2e $(ARGS)

run: $(STAMP) ## the operator on this machine against the cluster that KUBECONFIG names
	@$(BIN)/python -m tools.run_operator

check: $(STAMP) check-generated ## formatting, lint, types, layers; generated files are current
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@mkdir -p build
	@$(BIN)/lint-imports > build/lint-imports.log 2>&1 || { cat build/lint-imports.log; exit 1; }

check-generated: $(STAMP) ## CRD, ClusterRole, reference pages and protocol are what the code says
	@$(BIN)/python -m edgemodel_operator.api.crd crds --check
	@$(BIN)/python -m edgemodel_operator.kube.cluster_role manifests/base --check
	@$(BIN)/python -m edgemodel_operator.api.reference docs/reference --check
	@$(BIN)/python -m tools.metrics_reference docs/reference --check
	@rm -rf build/protos && mkdir -p build/protos
	@$(PROTOC) --python_out=build/protos --pyi_out=build/protos $(PROTO)
	@for file in $(notdir $(basename $(PROTO)))_pb2.py $(notdir $(basename $(PROTO)))_pb2.pyi; do \
		cmp -s build/protos/$(dir $(PROTO))$$file inference-image/$(dir $(PROTO))$$file \
		|| { echo "$(dir $(PROTO))$$file is not what $(notdir $(PROTO)) says: run make protos"; exit 1; }; done

crds: $(STAMP) ## write crds/ and the operator's ClusterRole from its code
	@$(BIN)/python -m edgemodel_operator.api.crd crds
	@$(BIN)/python -m edgemodel_operator.kube.cluster_role manifests/base

docs: $(STAMP) ## write the reference pages in docs/ from the code, and the site with checked links to build/site
	@$(BIN)/python -m edgemodel_operator.api.reference docs/reference
	@$(BIN)/python -m tools.metrics_reference docs/reference
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet --site-dir build/site

protos: $(STAMP) ## write the Python code of the gRPC protocol
	@$(PROTOC) --python_out=inference-image --pyi_out=inference-image $(PROTO)

format: $(STAMP) ## format and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench-control-plane: $(STAMP) ## 1,000 EdgeModels × 2 sites: time to Ready, reaction time, memory, idle writes
	@$(BIN)/python -m tests.bench.control_plane $(ARGS)

bench-compression: $(STAMP) ## Auto beside onnxruntime, NNCF and torch-pruning: size, latency, accuracy, memory, time
	@$(BIN)/python -m tests.bench.compression $(ARGS)

corpus: $(STAMP) ## models of the Python index that nobody here made: every method, judged by what their tasks need
	@$(BIN)/python -m tests.corpus $(ARGS)

bench-serving: $(STAMP) ## the server beside the raw loop and beside LitServe, BentoML, MLServer, KServe, FastAPI
	@$(BIN)/python -m tests.bench.serving $(ARGS)

fuzz-server: $(STAMP) ## 100,000 random bodies and as many damaged connections against the inference server: no 500, no growth
	@$(BIN)/python -m tests.fuzz.server $(ARGS)
	@$(BIN)/python -m tests.fuzz.connections

clean: ## remove build output and the virtual environment (the caches of the local cluster stay)
	@rm -rf build $(VENV)
