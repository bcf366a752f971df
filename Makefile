# `make demo` and `make test` each do all their own set-up: a virtual environment in .venv, then pip.
# PYTHON names the interpreter (3.11 or newer) that the environment is made with.

PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
# Bytecode, which pip makes of what it copies, but not of what it leaves in its place.
COMPILE := $(BIN)/python -m compileall -q relcam_onnx
LITE := models/efficientnet-lite0.onnx
WEB := onnxruntime-web@1.30.0
NODE := onnxruntime-node@1.30.0
NODE_MODULES = $(abspath $(VENV))/web/node_modules
# onnxruntime for Unity (150 MB): its headers and the C# of its API, 2 MB, are what is kept of it.
ORT_API := com.github.asus4.onnxruntime@0.4.9
ORT_HEADERS := package/Plugins/iOS~/onnxruntime.xcframework/ios-arm64/onnxruntime.framework/Headers
# Steers Chromium; it is installed for the tests of the page alone, and brings no browser of its own.
PLAYWRIGHT := playwright==1.65.2
# What it asks for beside PyTorch gets models from a hub; tests make their own weights.
TIMM := timm==1.0.31
# The schema of Triton's configs, and another runtime (59 MB): they hold protobuf and ml-dtypes back, and do without both.
SERVED := tritonclient==2.73.0 openvino==2026.4.1
# It asks for much that its rules for vision transformers do without.
LXT := lxt==2.1
# What docs/integrations.md has lines for.
INTEGRATED := supervision==0.31.2 fiftyone==1.22.1
# npm waits for a registry that does not answer as long as it is let.
NPM_SECONDS ?= 60

# Bytecode is kept whatever the surroundings say: tests start many processes, and PyTorch takes seconds to compile.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-web test-node test-native test-page lint quality methods coverage pictures bench bench-folder bench-web clean wheel-test site notebooks space test-space test-integrations fuzz soak bench-batch

help:
	@echo "make demo      explain the photographs in examples/ into out/ (no PyTorch)"
	@echo "make test      lint, types, every test and the site (installs PyTorch for the exporters' tests)"
	@echo "make test-web  compiled files in onnxruntime's web build (needs node and npm), the examples in JavaScript, C++"
	@echo "               and C# (both part of make test where npm is), and the page in Chromium; each needs its own tools"
	@echo "make wheel-test  builds the wheel, installs it elsewhere and runs it there (PYTHON: with that interpreter)"
	@echo "make site      the documentation as a site, in build/site; broken links are errors (part of make test)"
	@echo "make notebooks runs docs/notebooks, whose outputs the site then shows"
	@echo "make space     a Hugging Face Space of the model, in build/space (MODEL=FILE.onnx: of that); make test-space runs it"
	@echo "make test-integrations  the lines of docs/integrations.md, with those libraries (more than a gigabyte)"
	@echo "make fuzz      10,000 damaged files are explained or refused (half an hour)"
	@echo "make soak      an hour of mixed sizes through one Explainer from eight threads (SECONDS=600: ten minutes)"
	@echo "make lint      ruff and mypy alone"
	@echo "make quality   how good the maps are, rewrites docs/quality/examples.md (PICTURES=DIR LABELS=FILE: on your own)"
	@echo "make methods   every method at every stage, rewrites docs/quality/methods.md (hours)"
	@echo "make coverage  every network that is tried, exported and checked, rewrites docs/coverage.md (an hour and more)"
	@echo "make pictures  the contact sheet of the README"
	@echo "make bench     what an explanation costs, rewrites docs/costs.md"
	@echo "make bench-batch   what relcam batch costs, rewrites tables of docs/batch.md"
	@echo "make bench-folder  what a folder of photographs costs, rewrites that table of docs/costs.md"
	@echo "make bench-web what the page of relcam web weighs and takes, rewrites those tables of docs/web.md and its picture"
	@echo "make clean     remove what these commands made"

demo: $(VENV)/.cpu
	$(BIN)/relcam explain $(LITE) examples/*.jpg --out out

# Two processes of one thread each: more threads than cores make small matrix products several times slower.
test: export OPENBLAS_NUM_THREADS = 1
test: export OMP_NUM_THREADS = 1
test: lint
	$(BIN)/pytest --numprocesses 2 --dist worksteal
	$(if $(shell command -v npm),$(MAKE) test-node test-native,@echo "*** LEFT OUT: all of make test-web, for want of npm ***")
	$(MAKE) site

# Compiled files in the runtime that browsers load, plain WebAssembly from npm under node, the examples in other languages,
# and the page of relcam web in Chromium. Where npm's registry does not answer in time, or there is no Chromium or compiler,
# that test is left out, loudly, and everything else counts.
test-web: test-node test-native test-page

test-node: $(VENV)/.web $(VENV)/.test
	@if [ -e $(VENV)/.web ]; then NODE_PATH=$(NODE_MODULES) $(BIN)/pytest --numprocesses 2 tests/web/check_web.py; else \
	echo "*** LEFT OUT: compiled files in onnxruntime's web build. npm did not bring $(WEB) within $(NPM_SECONDS) s;" \
	"run 'make test-node' when its registry answers. ***"; fi

# What a language needs and is not there is said by its tests, which are left out.
test-native: $(VENV)/.node $(VENV)/.native $(VENV)/.test
	NODE_PATH=$(NODE_MODULES) ONNXRUNTIME_API=$(abspath $(VENV))/native/package $(BIN)/pytest -rs tests/web/check_native.py

test-page: $(VENV)/.page $(VENV)/.web $(VENV)/.test
	@if $(BIN)/python -c "import playwright; from benchmarks.browser import CHROMIUM as found; exit(not found)"; then \
	NODE_PATH=$(NODE_MODULES) $(BIN)/pytest --numprocesses 2 --dist worksteal tests/web/check_page.py; else \
	echo "*** LEFT OUT: the page in a browser. It needs Chromium (apt-get install chromium) and $(PLAYWRIGHT). ***"; fi

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# In a folder elsewhere: nothing of the checkout is found by chance.
wheel-test: ELSEWHERE := $(shell mktemp -d)
wheel-test:
	$(PYTHON) -m venv $(ELSEWHERE)/builder
	$(ELSEWHERE)/builder/bin/pip install --quiet build
	$(ELSEWHERE)/builder/bin/python -m build --outdir $(ELSEWHERE) .
	$(PYTHON) -m venv $(ELSEWHERE)/env
	$(ELSEWHERE)/env/bin/pip install --quiet "$$(echo $(ELSEWHERE)/*.whl)[cpu]" pytest hypothesis
	cd $(ELSEWHERE) && env/bin/python -P $(CURDIR)/tests/wheel/check_wheel.py $(CURDIR)
	rm -rf $(ELSEWHERE)

# Jupyter runs them; the tests do, too. What comes of it is what the site shows.
notebooks: export OPENBLAS_NUM_THREADS = 1
notebooks: $(VENV)/.test
	$(BIN)/python -m benchmarks.notebooks

# Its own environment: the theme's versions are nobody else's.
site: $(VENV)/.site
	NO_MKDOCS_2_WARNING=1 $(VENV)/site/bin/mkdocs build --strict --site-dir build/site

# All that a Hugging Face Space needs, in one folder; MODEL=FILE.onnx: of that.
SPACE := build/space
space:
	rm -rf $(SPACE) && mkdir -p $(SPACE)/pictures
	cp examples/space/app.py examples/space/requirements.txt examples/space/README.md $(SPACE)
	cp $(or $(MODEL),$(LITE)) $(SPACE)/model.onnx
	cp examples/cat.jpg examples/coffee.jpg examples/rocket.jpg $(SPACE)/pictures
	cp -r relcam_onnx LICENSE $(SPACE)
	find $(SPACE) -name __pycache__ -prune -exec rm -r {} +

# The lines of docs/integrations.md. Its environment is more than a gigabyte; FiftyOne writes into the home folder.
test-integrations: $(VENV)/.integrations
	HOME=$(CURDIR)/build/home FIFTYONE_DO_NOT_TRACK=true $(VENV)/integrations/bin/python -m pytest --noconftest --override-ini pythonpath=tests \
	tests/integrations/check_integrations.py

# In an environment that has what the Space's own has, asked as its visitors ask it.
test-space: space $(VENV)/.space
	cd $(SPACE) && $(CURDIR)/$(VENV)/space/bin/python -m pytest --noconftest --override-ini pythonpath=tests \
	$(CURDIR)/tests/space/check_space.py

fuzz: $(VENV)/.test
	$(BIN)/python -m benchmarks.fuzz

soak: $(VENV)/.test
	$(BIN)/python -m benchmarks.soak --seconds $(or $(SECONDS),3600)

# On one's own pictures: PICTURES=DIR LABELS=FILE.csv, and NETWORK=mobilenet or MODEL=FILE.onnx; PAGE=FILE.md keeps it.
quality: PAGE = $(if $(PICTURES)$(NETWORK)$(MODEL),,docs/quality/examples.md)
quality: $(VENV)/.test
	$(BIN)/python -m benchmarks.quality $(if $(PICTURES),--pictures $(PICTURES)) $(if $(LABELS),--labels $(LABELS)) \
	$(if $(NETWORK),--network $(NETWORK)) $(if $(MODEL),--model $(MODEL)) $(if $(PAGE),--page $(PAGE))

methods: $(VENV)/.test
	$(BIN)/python -m benchmarks.methods --write

# NAME="vit* resnet18": only these. What ran before is kept in build/coverage.jsonl; delete it to run all anew.
coverage: $(VENV)/.test
	$(BIN)/python -m benchmarks.coverage $(NAME) --failed --write

pictures: $(VENV)/.test
	$(BIN)/python -m benchmarks.contact_sheet

bench: $(VENV)/.test
	$(BIN)/python -m benchmarks.cost --write

# Two processes that take turns, so let nothing else run beside it.
bench-folder: $(VENV)/.test
	$(BIN)/python -m benchmarks.folder --write

# As above; it needs Chromium, and npm's registry once.
bench-web: $(VENV)/.page $(VENV)/.test
	$(BIN)/python -m benchmarks.web --write
	$(BIN)/python -m benchmarks.web --shot docs/pictures/web.jpg

# The same: ratios hardly suffer from a busy machine, rates do.
bench-batch: $(VENV)/.test
	$(BIN)/python -m benchmarks.batch --write

clean:
	rm -rf $(VENV) out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks

# The empty files say what the environment holds, so that a second run installs nothing.
$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.cpu: pyproject.toml | $(VENV)/.made
	$(BIN)/pip install --quiet --editable ".[cpu]"
	$(COMPILE)
	touch $@

$(VENV)/.page: | $(VENV)/.made
	$(BIN)/pip install --quiet $(PLAYWRIGHT) && touch $@ || true

$(VENV)/.web: | $(VENV)/.made
	timeout --kill-after=10 $(NPM_SECONDS) npm install --silent --no-audit --no-fund --ignore-scripts \
	--prefix $(VENV)/web $(WEB) && touch $@ || true

# After the above, since both write one folder. It brings its binary for Linux along, so that no script need run.
$(VENV)/.node: $(VENV)/.web
	timeout --kill-after=10 $(NPM_SECONDS) npm install --silent --no-audit --no-fund --ignore-scripts \
	--prefix $(VENV)/web $(NODE) && touch $@ || true

$(VENV)/.native: | $(VENV)/.made
	rm -rf $(VENV)/native && mkdir $(VENV)/native
	cd $(VENV)/native && timeout --kill-after=10 $(NPM_SECONDS) npm pack --silent $(ORT_API) && \
	tar -xzf *.tgz package/LICENSE package/Runtime '$(ORT_HEADERS)' && rm *.tgz && touch ../$(@F) || true

$(VENV)/.site: pyproject.toml | $(VENV)/.made
	$(PYTHON) -m venv $(VENV)/site
	$(VENV)/site/bin/pip install --quiet "mkdocs-material>=9.6,<10" "mkdocstrings[python]>=0.29"
	touch $@

$(VENV)/.space: examples/space/requirements.txt | $(VENV)/.made
	$(PYTHON) -m venv $(VENV)/space
	$(VENV)/space/bin/pip install --quiet --requirement examples/space/requirements.txt pytest
	touch $@

$(VENV)/.integrations: pyproject.toml | $(VENV)/.made
	$(PYTHON) -m venv $(VENV)/integrations
	$(VENV)/integrations/bin/pip install --quiet --editable ".[cpu]" pytest $(INTEGRATED)
	touch $@

# Most of PyTorch and what comes with it is never imported: Python compiles what is.
$(VENV)/.test: pyproject.toml requirements-test.txt | $(VENV)/.made
	$(BIN)/pip install --quiet --no-compile --editable ".[cpu,dev]" --requirement requirements-test.txt
	$(BIN)/pip install --quiet --no-compile --no-deps $(TIMM) $(SERVED)
	$(COMPILE)
	touch $(VENV)/.cpu $@

# Side by side with other libraries, whose versions are pip's to choose.
.PHONY: bench-compiled bench-peers

bench-compiled: $(VENV)/.test
	$(BIN)/python -m benchmarks.compiled --write
	$(BIN)/python -m benchmarks.architectures --write

bench-peers: $(VENV)/.bench
	$(BIN)/python -m benchmarks.peers --write
	$(BIN)/python -m benchmarks.peers_vit --write

$(VENV)/.bench: $(VENV)/.test
	$(BIN)/pip install --quiet --editable ".[bench]"
	$(BIN)/pip install --quiet --no-deps $(LXT)
	touch $@
