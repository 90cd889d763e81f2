# `make` lists the targets. Everything is set up by the first target that needs it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test test-server test-browser test-backtest test-machines test-portable test-soak test-kills \
        test-races test-hostile images smoke test-shared test-contract backup \
        load-backup release-api alerts audit lint format bench bench-serve bench-page backtest data month repro \
        promote rollback history status experiments adopt simulate restore gc features report serve mlflow \
        screenshot lock relock

# The first of these that is Python 3.11 to 3.13; PYTHON=… names another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
  && echo $$p && break; done)

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONUNBUFFERED := 1
# A container may run as a user without a name and without a home: DVC and MLflow ask for both.
ifndef HOME
export HOME := $(shell echo ~)
endif
ifndef LOGNAME
export LOGNAME := $(shell id -un 2>/dev/null)
endif
# Nothing of ours phones home.
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true

REASON ?=
VERSION ?=
AS_OF ?=
DATA ?=
ID ?=
LABEL ?=
KEEP ?=
DIR ?=
REPLACE ?=
PORT ?=
SCENARIO ?=
MONTHS ?=
ROWS ?=
SEED ?=
ONSET ?=
KIND ?=
# What people type, to the letter: quoted for the shell, dollars and all, on one line.
unexport REASON VERSION AS_OF DATA ID LABEL KEEP DIR REPLACE PORT SCENARIO MONTHS ROWS SEED ONSET KIND
define newline


endef
quoted = '$(subst $(newline), ,$(subst ','\'',$(1)))'
option = $(if $(value $(2)),--$(1)=$(call quoted,$(value $(2))))

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Where the clone was moved or copied; an environment that is a link is somebody else's.
.PHONY: portable
portable:
	@[ -L .venv ] || [ ! -e .venv/installed ] || [ "$$(cat .venv/folder 2>/dev/null)" = "$$(pwd -P)" ] \
	  || .venv/bin/python ops/portable.py

.venv/installed: requirements.txt | portable
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 to 3.13 on PATH: install one, or type make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "setting up .venv with the packages of requirements.txt: some minutes, once"
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes -r requirements.txt
	@.venv/bin/python ops/portable.py
	@touch $@

run: .venv/installed ## from a bare clone to a model in production; again: the loop goes on
	@python -m data.cdnow start
	@python -m stages.commands.repro
	@python -m serve.features
	@python -m stages.commands.status

data: .venv/installed ## get the default data, up to the start month
	@python -m data.cdnow start

month: .venv/installed ## let the next month arrive
	@python -m data.cdnow next

repro: .venv/installed ## run what changed, and say what ran and why
	@python -m stages.commands.repro
	@python -m serve.features

promote: .venv/installed ## carry out an awaiting verdict; with REASON=… promote by hand
	@python -m stages.promote --by-hand $(call option,reason,REASON)

rollback: .venv/installed ## put the previous model back [VERSION=n] [REASON=…]
	@python -m stages.commands.rollback $(call option,version,VERSION) $(call option,reason,REASON)

history: .venv/installed ## every move of the alias [AS_OF=YYYY-MM-DD]
	@python -m stages.commands.history $(call option,as-of,AS_OF)

status: .venv/installed ## where everything stands, and what to do next
	@python -m stages.commands.status

experiments: .venv/installed ## `dvc exp show`, with no more columns than what differs
	@python -m dvc exp show --no-pager --only-changed --drop 'Created|State|Executor|^f1$$|requirements|(data|models|reports|stages)/'

adopt: .venv/installed ## your own data: DATA=folder ID=column LABEL=column [KEEP=columns]
	@python -m data.adopt $(call option,data,DATA) $(call option,id,ID) $(call option,label,LABEL) $(call option,keep,KEEP)

simulate: .venv/installed ## simulated data: SCENARIO=… [MONTHS=24] [ROWS=5000] [SEED=1] [ONSET=12]
	@python -m data.simulate $(call option,scenario,SCENARIO) $(call option,months,MONTHS) $(call option,rows,ROWS) \
	  $(call option,seed,SEED) $(call option,onset,ONSET) $(call option,kind,KIND)

restore: .venv/installed ## rebuild the registry from DVC's files and the ledger's copy
	@python -m stages.commands.restore

gc: .venv/installed ## free disk: never what the ledger names
	@python -m stages.commands.gc

features: .venv/installed ## fill the online store that answers predictions by id
	@python -m serve.features

report: .venv/installed ## one page: what is in production, why, what changed (reports/report.html)
	@python -m page

serve: .venv/installed ## answer with the model in production [PORT=n]
	@exec python -m serve $(call option,port,PORT)

mlflow: .venv/installed ## MLflow's own pages on the registry [PORT=n]
	@python -m stages.commands.pages $(call option,port,PORT)

# Minutes of real servers, models and faults: these run one after the other.
SERVER_TESTS := tests/test_server.py tests/test_slow_clients.py tests/test_default_data.py
BROWSER_TESTS := tests/test_browser.py

BACKTEST_TESTS := tests/test_backtest.py
# Clones that are moved and copied, other users, full disks, other processors, experiments: each runs the loop.
MACHINE_TESTS := tests/test_clones.py tests/test_machines.py tests/test_portable.py tests/test_experiments.py
PORTABLE_TESTS := tests/test_portable_months.py
# These need a container engine; Compose v2, or docker-compose where that is what there is.
CONTAINERS := tests/containers
COMPOSE ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
export COMPOSE
# Each at a length that takes minutes to hours; the environment shortens them.
PROOFS := tests/proofs
SLOW_TESTS := $(SERVER_TESTS) $(BROWSER_TESTS) $(BACKTEST_TESTS) $(MACHINE_TESTS) $(PORTABLE_TESTS) $(CONTAINERS) $(PROOFS)

test: .venv/installed ## all tests but those that need minutes, a browser or containers
	@python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder $(SLOW_TESTS:%=--ignore=%)

test-server: .venv/installed ## the server under load and under faults; some minutes
	@python -m pytest $(SERVER_TESTS)

test-browser: .venv/installed chromium ## the page in a real browser: Chromium, which this installs on Debian
	@python -m pytest $(BROWSER_TESTS)

.PHONY: chromium
chromium:
	@command -v chromium chromium-browser google-chrome >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && apt-get update -qq && apt-get install -qq --no-install-recommends chromium fonts-dejavu-core; } \
	  || { echo "error: no Chromium here: install it (Debian: apt-get install chromium), then make $(or $(MAKECMDGOALS),test-browser)" >&2; exit 1; }

test-backtest: .venv/installed ## bounds that the loop keeps, and that a bad gate breaks; some minutes
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python -m pytest --numprocesses auto $(BACKTEST_TESTS)

test-machines: .venv/installed ## clones as people move them, on machines as they have them; some minutes
	@python -m pytest --numprocesses auto --dist loadfile $(MACHINE_TESTS)

test-portable: .venv/installed ## every month of the default data on other processors: the same bytes; half an hour
	@python -m pytest $(PORTABLE_TESTS)

test-soak: .venv/installed ## 1,000,000 requests over 1,000 moves of production; half an hour [REQUESTS=n] [MOVES=n]
	@python -m pytest --capture=no $(PROOFS)/test_soak.py

test-kills: .venv/installed ## 300 kills at any instant, and the next command; an hour or more [KILLS=n] [COMMANDS='a b'] [SEED=n]
	@SEED=$(call quoted,$(SEED)) python -m pytest --capture=no $(PROOFS)/test_kills.py

test-races: .venv/installed ## two clones on one registry promote at once, 50 times; some minutes [ROUNDS=n]
	@python -m pytest --capture=no $(PROOFS)/test_races.py

test-hostile: .venv/installed ## 100,000 hostile values at every edge; a quarter of an hour [CASES=n] [SEED=n]
	@SEED=$(call quoted,$(SEED)) python -m pytest -p no:schemathesis --capture=no $(PROOFS)/test_hostile.py

images: ## the images of the server and of the registry
	@POSTGRES_PASSWORD=unused $(COMPOSE) build

smoke: images alerts .venv/installed ## a model's life in containers, on a real Postgres; trains nothing
	@python -m pytest --exitfirst $(CONTAINERS)/test_smoke.py

backup: ## save the stack's registry and ledger: DIR=folder
	@ops/backup save $(call quoted,$(DIR))

load-backup: ## load them into a stack: DIR=folder [REPLACE=yes]
	@REPLACE=$(call quoted,$(REPLACE)) ops/backup load $(call quoted,$(DIR))

test-shared: images .venv/installed ## one registry for two clones, on a real Postgres; some minutes
	@python -m pytest $(CONTAINERS)/test_shared_registry.py

test-contract: .venv/installed ## data schema, feature consistency, performance, API: also part of test
	@python -m pytest --numprocesses auto --dist loadfile tests/contract

release-api: .venv/installed ## the API as it is now is what clients were promised: docs/openapi.json
	@PYTHONPATH=.:tests:tests/contract python tests/contract/test_api_contract.py

PROMTOOL := docker run --rm --volume $(CURDIR)/ops/prometheus:/etc/prometheus:ro --workdir /etc/prometheus \
  --entrypoint promtool prom/prometheus:v2.42.0

alerts: ## the rules of the alerts: each fires where it is due, and nowhere else
	@$(PROMTOOL) check config prometheus.yml
	@$(PROMTOOL) test rules alerts_test.yml

audit: images .venv/installed ## known vulnerabilities, secrets in the tree, the images' packages
	@python -m ops.audit

lint: .venv/installed ## style, types and workflows
	@ruff check .
	@ruff format --check .
	@mypy
	@check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@zizmor --offline --quiet --persona=pedantic .github/workflows

format: .venv/installed ## put the code into shape
	@ruff check --fix .
	@ruff format .

bench: .venv/installed ## the figures of the README, as ratios within one run
	@python -m bench

bench-serve: .venv/installed ## the server against MLflow's own, and swaps under load; needs wrk
	@python -m bench serve swaps

bench-page: .venv/installed ## the page of 36 months by 200 columns: seconds, bytes, first paint
	@python -m bench page

screenshot: .venv/installed chromium ## docs/screenshot.png, of this clone's page
	@python -m page
	@python -m bench.screenshot

backtest: .venv/installed ## how often the loop is wrong: docs/decisions.md, made anew; an hour or more
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python -W ignore -m backtest

UV_COMPILE := uv pip compile -q --universal --fork-strategy fewest --python-version 3.11 \
  --generate-hashes --no-emit-index-url --no-header --no-annotate

# The images' packages are some of the environment's, at the same versions.
lock: .venv/installed ## renew the locked packages of environment and images from pyproject.toml
	@$(UV_COMPILE) pyproject.toml --group dev -o requirements.txt
	@$(UV_COMPILE) --group serve -c requirements.txt --no-emit-package scipy --no-emit-package narwhals \
	  -o serve/requirements.txt
	@$(UV_COMPILE) --group tracking -c requirements.txt -o ops/mlflow/requirements.txt

relock: .venv/installed ## renew dvc.lock as a bare clone of the last commit gets it
	@clone=$$(mktemp -d) && git clone --quiet . $$clone && ln -s $(CURDIR)/.venv $$clone/.venv \
	  && touch $$clone/.venv/installed && rm -f $$clone/dvc.lock \
	  && env -u MLFLOW_TRACKING_URI -u SERVE_ONLINE_STORE $(MAKE) -C $$clone run \
	  && cp $$clone/dvc.lock . && cp $$clone/data/raw.dvc data/ && rm -rf $$clone
