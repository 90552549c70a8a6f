# OpenWIT. `make` lists what can be made; RECIPE=name picks recipes/name.toml, ENGINE=spark|flink|dataflow where it runs.

RECIPE ?= real
PYTHON ?= python3
export OPENWIT_DATA ?= ../shared/data
BIN := .venv/bin
unexport PYTHONDONTWRITEBYTECODE # where it is set, each of a thousand starts would compile our modules again
ON := $(if $(ENGINE), --set engine.runner=$(ENGINE))
STAGES := $(shell $(PYTHON) -m core.registry | awk '{print $$2}') report all # those of core/registry.py

.DEFAULT_GOAL := help
.PHONY: help demo real test test-program test-slow test-engines test-dataflow test-cluster engines $(STAGES) lint bench clean

help: ## list the targets
	@awk -F: 'match($$0, /^[a-z-]+:.*## /) {printf "  make %-12s %s\n", $$1, substr($$0, RLENGTH + 1)} \
	  /^# the stages/ {system("$(PYTHON) -m core.registry")}' Makefile

# The environment: made once, made again when what it is made from changes.
$(BIN)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "openwit needs Python 3.11 to 3.13: make PYTHON=python3.12 …" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode -c constraints.txt -e '.[train,s3,dev]'
	touch $@

demo: $(BIN)/.installed ## a small web of its own, every stage, a training, the report; fails if anything is not true
	$(BIN)/python -m demo

real: $(BIN)/.installed ## every stage on real pages and pictures (OPENWIT_DATA), served on 127.0.0.1
	$(BIN)/python -m demo.localweb "$(OPENWIT_DATA)/web" -- $(BIN)/openwit all --recipe recipes/real.toml$(ON)

PYTEST := $(BIN)/python -m pytest
# One more than there are cores, for tests wait, too; four take 6 GB.
WORKERS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 4 ? n + 1 : 4)))
AT_ONCE = -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# The files that hold tests of a mark: to read all would take longest.
MARKED = $$(grep -rl --include='*.py' 'mark\.$(1)' tests)

test: $(BIN)/.installed ## the tests of every part, in minutes
	$(PYTEST) $(AT_ONCE) -m 'not program and not slow and not engines and not dataflow and not cluster'

test-program: $(BIN)/.installed ## whole commands on a small web: killed, interrupted, misused, on full disks
	$(PYTEST) $(AT_ONCE) -m 'program and not slow' $(call MARKED,program)

# Each test goes to a worker by itself: Spark runs beside Flink.
test-engines: $(BIN)/.installed ## every stage on Spark and on Flink inside this machine
	$(BIN)/openwit engines
	$(PYTEST) -n 2 --dist loadgroup -m 'engines and not slow' $(call MARKED,engines)

test-dataflow: .venv-gcp/.installed ## the pipelines of every stage through Dataflow's dry run
	.venv-gcp/bin/python -m pytest -m dataflow $(call MARKED,dataflow)

.venv-gcp/.installed: $(BIN)/.installed  # of its own: with the extra every start of Beam takes half as long again
	$(BIN)/uv venv --quiet --clear --seed --python $(BIN)/python .venv-gcp
	$(BIN)/uv pip install --quiet --python .venv-gcp/bin/python -c constraints.txt -e '.[gcp,dev]'
	touch $@

test-cluster: $(BIN)/.installed ## the same on clusters on 127.0.0.1 with workers killed, and on an object store
	$(BIN)/python -m pytest -m cluster

test-slow: $(BIN)/.installed ## the slow tests: kills, memory, everything at its full size
	$(BIN)/python -m pytest -m slow

# the stages: `help` lists those of core/registry.py here
report: ## one HTML page of everything that happened
all: ## every stage above, in order
$(STAGES): $(BIN)/.installed
	$(BIN)/openwit $@ --recipe recipes/$(RECIPE).toml$(ON)

engines: $(BIN)/.installed ## fetch what Spark and Flink need, once
	$(BIN)/openwit engines

lint: $(BIN)/.installed ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(BIN)/.installed ## measure a claim against its peer: make bench BENCH=name
	$(BIN)/python -m benchmarks.$(or $(BENCH),$(error name one: make bench BENCH=…, from benchmarks/))

clean: ## remove what was made from recipes/$(RECIPE).toml
	rm -rf out/$(RECIPE)
