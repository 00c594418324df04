# The project's commands. `make help` lists them; `make install` is done by whichever of them needs it.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow lint format bench lock clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

install: $(STAMP) ## make .venv with plait and what it needs (a few minutes the first time: PyTorch is large)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	# Compiled here once: libraries this large take seconds in each process that compiles them for itself.
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode -c constraints.txt -e '.[offline,lora,captions,static,onnx,search,scale,serve,app,dev]'
	# Tests compare losses with this package's; what it pins would replace versions plait works with.
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --no-deps angle-emb==0.6.1
	touch $(STAMP)

demo: $(STAMP) ## draw the sample set, compare four models, write a report
	$(BIN)/plait demo --out plait-demo

test: $(STAMP) ## the default tests
	$(BIN)/python -m pytest

test-slow: $(STAMP) ## every test, the slow ones too
	$(BIN)/python -m pytest -m ''

lint: $(STAMP) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## let ruff mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## how fast the parts are on this machine
	$(BIN)/python -m benchmarks.suite

lock: $(STAMP) ## pin the versions known to work together
	$(BIN)/uv pip compile --quiet --upgrade --no-header --no-annotate --no-emit-index-url --universal \
		--python-version 3.11 --all-extras pyproject.toml -o constraints.txt
	printf 'uv==%s\n' "$$($(BIN)/uv --version | cut -d' ' -f2)" >> constraints.txt

clean: ## remove what the commands made
	rm -rf $(VENV) plait-demo .mypy_cache .ruff_cache .pytest_cache
