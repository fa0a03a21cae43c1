PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PHANTOM := --data phantom --limit 2500 --epsilon 4/255 --step-size 1/255

.PHONY: help setup demo test test-slow test-browser test-versions peers lint

help:
	@echo "make demo           train and attack both models on phantom images (made-up data): minutes, no download"
	@echo "make test           the tests; make test-slow for whole runs on real samples"
	@echo "make test-browser   the report page in Chromium, where one is installed"
	@echo "make test-versions  the tests with the lowest and the newest versions of all that is required"
	@echo "make peers          the same attacks in CleverHans, ART and Foolbox, in an environment of their own"
	@echo "make lint           ruff"
	@echo "make setup          $(VENV) with all that these need, which each of them makes by itself"

setup: $(VENV)/ready

# medmnist without its dependencies, which would bring PyTorch: its labels and its evaluator need none of them.
$(VENV)/ready: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	$(BIN)/python -m pip install --quiet --no-deps "medmnist>=3.0.2,<4"
	touch $@

demo: setup
	$(BIN)/python diagnosis.py $(PHANTOM) --epochs 12 --run runs/demo/baseline --overwrite
	$(BIN)/python diagnosis_adv.py $(PHANTOM) --epochs 12 --baseline runs/demo/baseline --run runs/demo/robust \
	    --train-epsilon 4/255 --train-step-size 2/255 --overwrite

test: setup
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

test-slow: setup
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m slow --durations=5

# Without a Chromium these tests skip.
test-browser: $(VENV)/browser-ready
	$(BIN)/python -m pytest -q -m browser

$(VENV)/browser-ready: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --editable ".[browser]"
	touch $@

# The lowest and the newest versions of all that is required, each in a fresh environment.
test-versions: setup
	$(BIN)/python benchmarks/versions.py

# The peers' packages have an environment of their own, so that nothing of theirs slips into ours.
peers: $(VENV)-peers/ready
	$(VENV)-peers/bin/python -m pytest -q -m peers

$(VENV)-peers/ready: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/python -m pip install --quiet --editable ".[peers]"
	touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
