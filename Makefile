# The only set-up that a fresh machine needs: every target makes its environment by itself, in VENV.
PYTHON ?= python3
VENV ?= .venv
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
NASPLAT := $(VENV)/bin/nasplat
QUICKSTART := studies/quickstart
DEVICE ?= auto
JOBS ?= 2

.PHONY: help demo test check clean

help:  ## say what there is
	@sed -n 's/^\([a-z]*\):.*  ## /make \1\t/p' Makefile

$(VENV)/ready: pyproject.toml constraints.txt
	@echo "setting up $(VENV); the first time this takes some minutes"
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch setuptools
	$(PIP) --editable '.[onnx,notebook,test]'
	@touch $@

demo: $(VENV)/ready  ## run the study in studies/quickstart: train, search, draw the front, export a network
	$(NASPLAT) run $(QUICKSTART) --device $(DEVICE)
	$(NASPLAT) front $(QUICKSTART) -o $(QUICKSTART)/out/front.png
	$(NASPLAT) export $(QUICKSTART) --select knee --format state,pt2,onnx -o $(QUICKSTART)/out/knee
	@echo "next: $(NASPLAT) show $(QUICKSTART) knee -o $(QUICKSTART)/out/knee.svg"

test: $(VENV)/ready  ## run the tests, JOBS of them at once
	$(VENV)/bin/python -m pytest -q --numprocesses $(JOBS) --dist worksteal

check: $(VENV)/ready  ## ruff and mypy --strict
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

clean:  ## remove the environment and what was built; studies and their results stay
	rm -rf $(VENV) build dist *.egg-info
