# Everything a newcomer needs: make setup, make demo, make test.

SHELL := /bin/bash
VENV := .venv
PYTHON := $(VENV)/bin/python

.DEFAULT_GOAL := help
PAIRS := 2000
SEED := 1

.PHONY: help setup demo test bench oracle oracle-bugs policies systems sweep kill-campaign lint format lock

help: ## show these lines
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: ## install the system packages that are missing, and the environment into .venv
	@scripts/setup

demo: setup ## break a Service in a lab, find out why, repair it, undo (root)
	@$(VENV)/bin/nettrace lab demo

test: lint ## lint, then all tests (those of the kernel need root)
	@$(PYTHON) -m pytest -n 4 --dist worksteal || { \
	    echo 'Failed while several ran at once; once more, one at a time:'; \
	    $(PYTHON) -m pytest --last-failed --last-failed-no-failures none; }

bench: setup ## the terminal application with 230,000 rules open: milliseconds from key to screen (tmux)
	@$(PYTHON) -m scripts.bench_tui

kill-campaign: setup ## kill 220 probes at every point of theirs, and look what is left (root)
	@NETTRACE_KILLS=220 $(PYTHON) -m pytest -s -p no:cacheprovider tests/kernel/test_kill.py

oracle: setup ## random states and packets, the walk against the kernel: PAIRS=N SEED=S (root)
	@$(PYTHON) -m tests.oracle --pairs $(PAIRS) --seed $(SEED) --jobs $$(nproc)

oracle-bugs: setup ## plant mistakes in the walk; the oracle has to find each (root)
	@$(PYTHON) -m tests.oracle.bugs

policies: setup ## 200 more sets of network policies in a lab, against real connections (root)
	@NETTRACE_POLICIES=200 $(PYTHON) -m pytest -q tests/kernel/test_policies.py

systems: setup ## the whole reachability matrix of every network system's lab, and its faults (root)
	@# those of tests/vm first: their machine is the longest single way
	@NETTRACE_TEST_SWEEP=1 $(PYTHON) -m pytest -q -n 4 --dist worksteal \
	    tests/vm/test_lab_calico_ipip.py \
	    tests/vm/test_lab_ipvs.py \
	    tests/vm/test_lab_lvs.py \
	    tests/acceptance/test_docker.py \
	    tests/acceptance/test_docker_layouts.py \
	    tests/acceptance/test_healthy.py \
	    tests/acceptance/test_flannel_vxlan.py \
	    tests/acceptance/test_flannel_direct.py \
	    tests/acceptance/test_flannel_udp.py \
	    tests/acceptance/test_host_gw.py \
	    tests/acceptance/test_calico_bgp.py \
	    tests/acceptance/test_calico_vxlan.py \
	    tests/acceptance/test_canal.py \
	    tests/acceptance/test_kube_router.py \
	    tests/acceptance/test_weave.py \
	    tests/acceptance/test_cilium.py

sweep: setup ## all tests with all their cases, also those of which `make test` has a sample (root, an hour)
	@NETTRACE_TEST_SWEEP=1 $(PYTHON) -m pytest -q -n 4 --dist worksteal

lint: setup ## ruff, mypy and the import contracts
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

format: setup ## put the code into its form
	@$(VENV)/bin/ruff check --fix
	@$(VENV)/bin/ruff format

lock: setup ## write requirements.txt and requirements-dev.txt anew
	@scripts/lock
