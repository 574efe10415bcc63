# `make` lists the targets. Everything runs in .venv, made from any Python >= 3.10 and the versions in constraints.txt;
# the site of docs/ is built in .venv-docs.

CONFIG ?= configs/quickstart.toml
FUZZ_CASES ?= 300
FUZZ_SEED ?= 0
SOAK_MINUTES ?= 3
PYTHON ?= python3
VENV := .venv
RUN_PYTHON := $(VENV)/bin/python
READY := $(VENV)/.ready
IPU_VENV := .venv-ipu-host
IPU_PYTHON := $(IPU_VENV)/bin/python
IPU_READY := $(IPU_VENV)/.ready
PYTHON38 ?= $(firstword $(foreach python,python3.8 $(wildcard $(HOME)/.pyenv/versions/3.8.*/bin/python), \
	$(shell $(python) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 8))' >/dev/null 2>&1 && echo $(python))))
DOCS_VENV := .venv-docs
DOCS_READY := $(DOCS_VENV)/.ready
DOCS_PYTHON ?= $(firstword $(foreach python,$(PYTHON) python3.11 python3.12 python3.13,\
	$(shell $(python) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' >/dev/null 2>&1 && echo $(python))))
STORE_TESTS := $(addprefix tests/pipeline/test_,run.py steps.py verify.py verify_bytes.py writer.py inspect.py forecast.py) \
	$(addprefix tests/trainer/test_,damage.py dataset.py hostile.py ids.py reader.py shapes.py sparse.py store.py \
	stream.py url_files.py zip_files.py)
KERNEL_TESTS := tests/pipeline/test_sampler.py tests/pipeline/test_padding.py tests/pipeline/grouping

# Handed on only when set; `make train MODEL=hgt BACKEND=eager` overrides the config.
STORE_OPTION := $(if $(STORE),--store '$(STORE)')
TRAIN_OPTIONS := --config '$(CONFIG)' $(STORE_OPTION) $(if $(MODEL),--model '$(MODEL)') \
	$(if $(BACKEND),--backend '$(BACKEND)') $(if $(RUN),--run '$(RUN)')

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# `make bench BENCHMARKS=scale` for one of them; WRITE=1 adds the tables to benchmarks/RESULTS.md.
BENCHMARKS ?= sampling prepare streaming step startup padding layout scale
BENCH_ARGS_prepare = $(CONFIG) --batch-size 5
BENCH_ARGS_streaming = $(CONFIG)
BENCH_ARGS_step = $(CONFIG) --threads 1
BENCH_ARGS_startup = $(CONFIG)
BENCH_ARGS_padding = $(CONFIG) --epochs 1

.PHONY: help plan prepare inspect verify train evaluate predict compile bench test test-jit-free test-packed test-pythons test-ipu-host has-python38 has-docs-python fuzz soak docs lint clean

help:  ## list the targets
	@echo 'make TARGET [CONFIG=configs/quickstart.toml] [STORE=...] [MODEL=...] [BACKEND=...] [RUN=...]'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

plan: $(READY)  ## show what prepare would write, and what other groupings and budgets would make of it
	@$(RUN_PYTHON) -m pipeline plan --config '$(CONFIG)'

prepare: $(READY)  ## sample the graph of CONFIG into padded batches, once
	@$(RUN_PYTHON) -m pipeline prepare --config '$(CONFIG)' $(STORE_OPTION)

inspect: $(READY)  ## show how full the batches of a store are
	@$(RUN_PYTHON) -m pipeline inspect --config '$(CONFIG)' $(STORE_OPTION)

verify: $(READY)  ## check every byte of a store, and some batches against the data
	@$(RUN_PYTHON) -m pipeline verify --config '$(CONFIG)' $(if $(STORE),'$(STORE)')

train: prepare  ## train MODEL on the store (prepared first when it is not there)
	@$(RUN_PYTHON) -m trainer train $(TRAIN_OPTIONS)

evaluate: $(READY)  ## score the best weights of a run
	@$(RUN_PYTHON) -m trainer evaluate $(TRAIN_OPTIONS)

predict: $(READY)  ## write the predictions of a run to Parquet
	@$(RUN_PYTHON) -m trainer predict $(TRAIN_OPTIONS)

compile: $(READY)  ## prepare IPU executables of MODEL without an IPU (needs the Poplar SDK)
	@$(RUN_PYTHON) -m trainer compile --config '$(CONFIG)' $(STORE_OPTION) $(if $(MODEL),--model '$(MODEL)')

bench: $(READY)  ## measure CONFIG side by side with PyG, zarr and plain files (an hour; see BENCHMARKS in the Makefile)
	@set -e; $(foreach name,$(BENCHMARKS),$(RUN_PYTHON) -m benchmarks.$(name) $(BENCH_ARGS_$(name)) $(if $(WRITE),--write);)

test: $(READY)  ## run all tests, then the kernels' tests again without the JIT
	$(RUN_PYTHON) -m pytest -n 2 --dist loadfile
	@$(MAKE) --no-print-directory test-jit-free

test-packed: $(READY)  ## run the tests that write or read stores again, on packed ones
	HETEROSHARDS_TEST_LAYOUT=packed $(RUN_PYTHON) -m pytest -n 2 --dist loadfile $(STORE_TESTS)

test-jit-free: $(READY)  ## run the kernels' tests as plain Python
	NUMBA_DISABLE_JIT=1 $(RUN_PYTHON) -m pytest $(KERNEL_TESTS)

test-ipu-host: $(READY) $(IPU_READY)  ## run schemas' and trainer's tests with an IPU host's versions
	rm -rf build/ipu-host
	$(RUN_PYTHON) -m tests.contract.write_stores build/ipu-host
	HETEROSHARDS_FOREIGN_STORES=build/ipu-host $(IPU_PYTHON) -m pytest tests/schemas tests/trainer

# Other Pythons than .venv's, each set up afresh where it is found: the quickstart's store is the same, and trains.
PYTHONS ?= 3.10 3.12 3.13
test-pythons: $(READY)  ## prepare and train the quickstart with other Pythons, and compare the stores byte for byte
	@rm -rf build/pythons && mkdir -p build/pythons
	@$(RUN_PYTHON) -m heteroshards prepare --config configs/quickstart.toml --store build/pythons/store >/dev/null 2>&1
	@set -e; for version in $(PYTHONS); do \
		python=$$(for found in python$$version $(HOME)/.pyenv/versions/$$version.*/bin/python; do \
			if "$$found" -c '' >/dev/null 2>&1; then echo "$$found"; break; fi; done); \
		if [ -z "$$python" ]; then echo "Python $$version: not here"; continue; fi; \
		here=build/pythons/$$version; "$$python" -m venv $$here/venv; \
		$$here/venv/bin/python -m pip install --quiet --no-input --disable-pip-version-check \
			-e '.[pipeline,trainer]' -c constraints.txt; \
		$$here/venv/bin/python -m heteroshards prepare --config configs/quickstart.toml --store $$here/store 2>&1 | tail -1; \
		$$here/venv/bin/python -m heteroshards train --config configs/quickstart.toml --store $$here/store \
			--run $$here/run --backend eager --set train.epochs=2 >/dev/null 2>$$here/train.log || { tail $$here/train.log; exit 1; }; \
		echo "Python $$version: $$($(RUN_PYTHON) -m tests.compare_stores build/pythons/store $$here/store)"; \
		rm -rf $$here; \
	done

has-python38:
	@[ -n '$(PYTHON38)' ]

has-docs-python:
	@[ -n '$(DOCS_PYTHON)' ]

fuzz: $(READY)  ## FUZZ_CASES random graphs and configs, and as many damaged stores, drawn with FUZZ_SEED
	$(RUN_PYTHON) -m tests.fuzz.graphs --cases '$(FUZZ_CASES)' --seed '$(FUZZ_SEED)'
	$(RUN_PYTHON) -m tests.fuzz.reader --cases '$(FUZZ_CASES)' --seed '$(FUZZ_SEED)'

soak: $(READY)  ## prepare, verify, train, kill and resume for SOAK_MINUTES; memory and descriptors stay flat
	$(RUN_PYTHON) -m tests.soak --minutes '$(SOAK_MINUTES)'

# mkdocstrings reads docstrings from files, so the rooms are put where an installation has them.
docs: $(DOCS_READY)  ## build the site of docs/ in build/docs; a broken link ends it
	@rm -rf build/rooms && mkdir -p build/rooms
	@cp -R heteroshards build/rooms/ && cp -R schemas pipeline trainer build/rooms/heteroshards/
	@NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/python -m mkdocs build --strict

lint: $(READY)  ## check format, style and types
	$(RUN_PYTHON) -m ruff format --check .
	$(RUN_PYTHON) -m ruff check .
	@mkdir -p build/mypy/heteroshards
	@ln -sfn $(foreach part,$(wildcard heteroshards/*.py) schemas pipeline trainer,../../../$(part)) build/mypy/heteroshards/
	$(RUN_PYTHON) -m mypy

clean:  ## remove .venv and caches; stores, runs and data stay
	rm -rf $(VENV) $(IPU_VENV) $(DOCS_VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# The first Python >= 3.10 among PYTHON and the usual names makes the environment; a failed install is repeated.
$(READY): pyproject.toml setup.py constraints.txt
	@set -e; for python in '$(PYTHON)' python3.11 python3.12 python3.13 python3.10 python3 python; do \
		if $$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' >/dev/null 2>&1; then \
			[ -x $(RUN_PYTHON) ] || { echo "making $(VENV) with $$($$python --version)"; $$python -m venv $(VENV); }; \
			echo 'installing the pinned dependencies (minutes, the first time)'; \
			$(RUN_PYTHON) -m pip install --quiet --no-input --disable-pip-version-check \
				-e '.[pipeline,trainer,dev]' -c constraints.txt; \
			touch $@; exit 0; \
		fi; \
	done; \
	echo 'error: no Python 3.10 to 3.13 was found; install one, or name it: make PYTHON=/path/to/python3' >&2; exit 1

$(IPU_READY): pyproject.toml setup.py constraints-ipu-host.txt
	@[ -n '$(PYTHON38)' ] || { echo 'error: no Python 3.8 was found; name it: make PYTHON38=/path/to/python3.8' >&2; exit 1; }
	@[ -x $(IPU_PYTHON) ] || $(PYTHON38) -m venv $(IPU_VENV)
	@echo 'installing an IPU host: Python 3.8, torch 2.0.1, PyG 2.4 (a minute or two)'
	@$(IPU_PYTHON) -m pip install --quiet --no-input --disable-pip-version-check \
		-e '.[trainer]' pytest hypothesis -c constraints-ipu-host.txt
	@touch $@

$(DOCS_READY): docs/requirements.txt constraints.txt
	@[ -n '$(DOCS_PYTHON)' ] || { echo 'error: no Python 3.11 to 3.13 was found; name it: make docs DOCS_PYTHON=/path/to/python3' >&2; exit 1; }
	@[ -x $(DOCS_VENV)/bin/python ] || $(DOCS_PYTHON) -m venv $(DOCS_VENV)
	@echo 'installing mkdocs (half a minute, the first time)'
	@$(DOCS_VENV)/bin/python -m pip install --quiet --no-input --disable-pip-version-check \
		-r docs/requirements.txt -c constraints.txt
	@touch $@
