# Everything starts here. A Debian machine with Python 3.11 or newer, make and git is enough; see README.md.
PYTHON ?= python3
INVENTORY ?= inventories/lab
# How many tests run at a time, and which: make test TESTS=tests/unit. One more than there are processors, since many wait.
JOBS ?= $(shell expr $$(nproc) + 1)
TESTS ?= tests
# A sample of the tests, another one with every commit; with WHOLE=1 everything, which takes twice as long.
WHOLE ?=
TURN ?= $(shell git rev-list --count HEAD 2>/dev/null || echo 0)
MAKE_LAB = $(PYTHON) lab/make.py

.DEFAULT_GOAL := help
.PHONY: help lab test lint unit bench pins down distclean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

lab:  ## Bring up the lab: every stack on one host (INVENTORY=inventories/lab)
	@$(MAKE_LAB) lab --inventory $(INVENTORY)

test:  ## Run everything that CI runs (TESTS=tests/unit for a part of it, WHOLE=1 for all of it)
	@$(MAKE_LAB) test -- -n $(JOBS) --dist loadfile --no-loadscope-reorder $(if $(WHOLE),,--sample $(TURN)) $(TESTS)

lint:  ## Run ruff, mypy, ansible-lint and ansible-test sanity only
	@$(MAKE_LAB) venv
	@.venv/bin/pytest -n $(JOBS) --dist worksteal tests/lint

unit:  ## Run the tests that need neither Docker nor root
	@$(MAKE_LAB) venv
	@.venv/bin/pytest -n $(JOBS) tests/unit

bench:  ## Measure stacks and engines against what else there is (WHAT=probe for one experiment)
	@$(MAKE_LAB) bench $(WHAT)

pins:  ## Pin the newest versions of requirements*.in into requirements*.txt
	@set -e; for group in requirements requirements-dev; do \
		$(PYTHON) -m venv --clear .lab/pins; \
		echo "== $$group.in"; \
		.lab/pins/bin/pip install --quiet --no-compile -r $$group.in; \
		{ echo "# $$group.in with every version pinned. Made by \`make pins\`; do not edit."; \
		  [ $$group = requirements ] || echo "-r requirements.txt"; \
		  .lab/pins/bin/pip freeze | { [ $$group = requirements ] && cat || grep -vxFf requirements.txt; }; } > $$group.new; \
		mv $$group.new $$group.txt; \
	done; rm -rf .lab/pins

down:  ## Remove the lab: containers, images, .lab, .venv, and stop the Docker engine if `make lab` started it
	@$(MAKE_LAB) down

distclean: down  ## Remove all caches of the tools as well
	@rm -rf .ansible .hypothesis .mypy_cache .pytest_cache .ruff_cache
