# `make help` lists the commands; each sets up what it needs.
PYTHON ?= python3
BIN := .venv/bin
# Several test files at once, twice as many as there are cores (at most 4), for half of the time a test waits; what one
# file sets up stays with it.
PARALLEL := -n $(shell cores=$$(getconf _NPROCESSORS_ONLN); echo $$((cores < 2 ? 2 : 4))) --dist loadfile
NANO := src/photomaker/nano/fal.toml

.PHONY: help setup demo test serve deploy lint nano bench-gpu screenshots fuzz

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name does; do printf 'make %-12s %s\n' "$$name" "$$does"; done

setup: .venv/installed ## .venv with everything the other commands need

.venv/installed: pyproject.toml
	@echo "Setting up .venv: about a gigabyte to install, a minute or a few"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[local,test]'
	@# InsightFace asks for the OpenCV that wants OpenGL; the same version without windows goes over it.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall \
		opencv-python-headless==$$(sed -n 's/.*"opencv-python==\(.*\)".*/\1/p' pyproject.toml)
	@touch $@

demo: setup ## pictures of an example person, through the local platform: no account, GPU or download
	$(BIN)/photomaker demo

test: setup ## every test
	@command -v npm >/dev/null || { echo "The tests of the JavaScript client need Node.js with npm."; exit 1; }
	@sh tests/playground/chromium.sh
	$(BIN)/python -m pytest $(PARALLEL)

serve: setup ## the endpoint on this machine, for your own client code and in the browser
	PHOTOMAKER_DEPLOYMENT=$${PHOTOMAKER_DEPLOYMENT:-$(NANO)} \
		$(BIN)/localfal serve photomaker_app.py::PhotoMaker --as fal-ai/photomaker \
		--examples src/photomaker/nano/examples

deploy: setup ## to fal; needs FAL_KEY
	$(BIN)/fal deploy photomaker_app.py::PhotoMaker --reset-scale

lint: setup ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

nano: setup ## train the small checkpoint from nothing (hours)
	$(BIN)/python -m training all

bench-gpu: setup ## what a card does, as a table and JSON
	$(BIN)/python -m benchmarks.gpu

screenshots: setup ## docs/playground-*.png, of the page as it is
	@sh tests/playground/chromium.sh
	$(BIN)/python tests/playground/screenshots.py docs

fuzz: setup ## hostile input for SECONDS=600; SEED=... makes the same again
	$(BIN)/python -m fuzzing --seconds $(or $(SECONDS),600) $(if $(SEED),--seed $(SEED))
