.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
ifneq (,$(findstring :,$(CURDIR)))
$(error $(CURDIR) has a colon in it, which PATH takes for the end of a folder: rename the folder)
endif
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
# Where Python is told to write no bytecode, as in many containers, each process would compile all of TensorFlow again.
unexport PYTHONDONTWRITEBYTECODE

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: .venv/run.txt $(if $(GPU),.venv/gpu.txt) ## set .venv up, and no more; GPU=1: with CUDA for TensorFlow, 4 GB more

repro: .venv/run.txt ## set up, then run the pipeline: only what params.yaml or data have changed
	@git rev-parse --git-dir > /dev/null || grep -qs no_scm .dvc/config .dvc/config.local || { \
	    echo "DVC needs a Git repository: git init && git add --all && git commit -m Start" >&2; exit 1; }
	@faces check # which also repairs what a killed DVC left behind
	dvc repro

# `git read-tree` makes Git compare contents: after an experiment that failed, it may take changed files for unchanged.
back: .venv/run.txt ## undo experiments: parameters, figures and outputs are those of the last commit again
	git read-tree HEAD
	git checkout -- params.yaml dvc.lock metrics data
	dvc checkout --with-deps dvc.yaml

report: .venv/run.txt ## write report.html, one page to send to a colleague; after `make repro`
	@faces report

pictures: .venv/run.txt ## draw the pictures of README and docs/; after `make repro report`
	python -m tools.pictures

docs: .venv/run.txt ## write the tables of README and docs/ anew, from metrics/; after `make repro`
	python -m tools.docs

without-dvc: .venv/run.txt ## run every stage without DVC: the same bytes, and nothing is skipped
	python -m tools.without_dvc

# What a comparison of experiments does not show: all but the figures that matter, whether a run failed (it then shows the
# figures of the commit that it started from), and parameters, of which DVC shows those that differ. The last alternative
# is of figures whose names look like parameters.
REST := ^(?!(Experiment|State|knn_accuracy|accuracy_test_(un)?seen|auc_test_unseen|similarity_accuracy|[a-z_]+\.[a-z_.]+)$$)|^(train|test_seen|test_unseen)\.(accuracy|auc|eer|d_prime|tar_at|fn?mr|fold|genuine|impostor|similarity|cllr)|^(keras|onnx)\.|^sources\.

experiments: .venv/run.txt ## show experiments on the last five commits: what was changed, and the figures that matter
	@COLUMNS=$${COLUMNS:-250} dvc exp show --num 5 --only-changed --drop '$(REST)' --no-pager

# Two processes, each of which takes the next file when it has finished one. `python -m pytest` runs all in one.
test: .venv/dev.txt ## set up, then run the tests
	python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-slow: .venv/dev.txt ## run the tests that take minutes
	python -m pytest -m slow --numprocesses 2 --dist worksteal

benchmark: .venv/run.txt ## print how fast each step is, as ratios to other ways; after `make repro`
	python -m benchmarks

lint: .venv/dev.txt ## check style and types
	ruff check .
	ruff format --check .
	mypy stages tests benchmarks tools

format: .venv/dev.txt ## put the code into the house style
	ruff check --fix .
	ruff format .

COMPILE := uv pip compile --quiet pyproject.toml --python-version 3.11 --python-platform linux --no-header --no-annotate
PIN = { sed '/^\#/!d' $(1); $(2); } > .venv/lock.txt && mv .venv/lock.txt $(1)

lock: .venv/dev.txt ## pin anew what pyproject.toml asks for
	@$(call PIN,requirements.txt,$(COMPILE))
	@$(call PIN,requirements-dev.txt,$(COMPILE) --group dev --constraint requirements.txt)
	@$(call PIN,requirements-gpu.txt,$(COMPILE) --extra gpu --constraint requirements.txt | grep --invert-match --line-regexp --fixed-strings --file requirements.txt)

# uv installs in seconds what takes pip minutes; it lies in .venv, so that nothing else is needed. A stamp is written last:
# a set-up that was interrupted goes on the next time.
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps

.venv/run.txt: requirements.txt pyproject.toml
	@echo "setting up .venv: installing requirements.txt, half a minute"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "needs Python 3.11: make PYTHON=/path/to/it")'
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $$(grep '^uv==' requirements-dev.txt)
	@$(UV) -r requirements.txt
	@$(UV) --no-build-isolation --editable .
	@cp requirements.txt $@

.venv/gpu.txt: requirements-gpu.txt .venv/run.txt
	@echo "setting up .venv: installing requirements-gpu.txt, 4 GB"
	@$(UV) -r requirements-gpu.txt
	@cp requirements-gpu.txt $@

.venv/dev.txt: requirements-dev.txt .venv/run.txt
	@echo "setting up .venv: installing requirements-dev.txt"
	@$(UV) -r requirements-dev.txt
	@cp requirements-dev.txt $@

.PHONY: help setup repro report pictures docs without-dvc experiments test test-slow benchmark lint format lock
