# Every target sets up what it needs: a local environment with the locked dependencies and this project.
#   make quickstart     the main job: sweep, fit, forecast, held-out run, report
#   make test           the test suite
#   make quick          the same without what is slow
#   make check          lint, format and type check
#   make docs           the documentation as a site, in site/; a warning is an error
#   make lock           resolve requirements.lock anew
#   make golden         steps of published models compiled for TPU slices, against their records, with libtpu (200 MB)
#   make interchange    weights to and from transformers, in an environment of its own with a CPU build of PyTorch
#   make speed          training speed against PyTorch on this machine, as Markdown; wants a quiet machine
VENV ?= .venv
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; exit; }; done)
BIN := $(VENV)/bin
UV := $(shell command -v uv || echo $(BIN)/uv)
INSTALL := VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet
STAMP := $(VENV)/.installed

.PHONY: setup quickstart test quick check format docs lock has-libtpu golden has-torch interchange speed clean

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer found; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
		echo "error: $(PYTHON) cannot make a virtual environment (on Debian and Ubuntu: apt install python3-venv)" >&2; rm -rf $(VENV); exit 1; }
	@test -x "$(UV)" || { echo "installing uv into $(VENV)"; $(BIN)/python -m pip install --quiet uv; }
	@echo "installing the locked dependencies into $(VENV)"
	@$(INSTALL) --require-hashes -r requirements.lock
	@$(INSTALL) --no-deps -e .
	@touch $@

quickstart: $(STAMP)
	@$(BIN)/scaling sweep configs/quickstart.yaml && $(BIN)/scaling report runs/quickstart

test: $(STAMP)
	@$(BIN)/python -m pytest -n auto --dist loadfile

quick: $(STAMP)
	@$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow"

check: $(STAMP)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: $(STAMP)
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

docs: $(STAMP)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet && echo "site/index.html"

lock: $(STAMP)
	@$(UV) pip compile pyproject.toml --group dev --universal --generate-hashes --no-header --quiet -o requirements.lock

has-libtpu: $(STAMP)
	@$(INSTALL) --dry-run -e '.[tpu-preflight]'

golden: $(STAMP)
	@$(INSTALL) -e '.[tpu-preflight]'
	@$(BIN)/python -m pytest tests/preflight/test_golden_preflight.py

# pip, and a version that only CPU builds have: what the index serves by default may be a CUDA build of several gigabytes.
TORCH_VENV := .venv-torch
TORCH := torch==2.13.0+cpu
$(TORCH_VENV)/.installed: requirements.lock
	@test -x $(TORCH_VENV)/bin/python || $(PYTHON) -m venv $(TORCH_VENV)
	@echo "installing the locked dependencies, PyTorch and transformers into $(TORCH_VENV)"
	@$(TORCH_VENV)/bin/python -m pip install --quiet --require-hashes -r requirements.lock
	@$(TORCH_VENV)/bin/python -m pip install --quiet --no-deps -e .
	@$(TORCH_VENV)/bin/python -m pip install --quiet "$(TORCH)" "transformers==5.23.0" || { \
		echo "error: no $(TORCH); name an index that has one in PIP_EXTRA_INDEX_URL" >&2; exit 1; }
	@touch $@

has-torch: $(STAMP)
	@$(BIN)/python -m pip install --dry-run --quiet --no-deps "$(TORCH)"

interchange: $(TORCH_VENV)/.installed
	@HF_HUB_OFFLINE=1 $(TORCH_VENV)/bin/python -m pytest -m interchange

speed: $(TORCH_VENV)/.installed
	@$(TORCH_VENV)/bin/python benchmarks/speed.py

clean:
	rm -rf $(VENV) $(TORCH_VENV) .cache site
