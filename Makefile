# make demo    pictures of an example person, through the local platform, without account, GPU or download
# make test    every test; sets up what they need
# make serve   the endpoint on this machine, for your own client code
# make deploy  to fal
PYTHON ?= python3
BIN := .venv/bin
NANO := src/photomaker/nano/fal.toml

.PHONY: setup demo test serve deploy bench lint nano

setup: .venv/installed

.venv/installed: pyproject.toml
	@echo "Setting up .venv: about a gigabyte to install, a minute or a few"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[local,test]'
	@# InsightFace asks for the OpenCV that wants OpenGL; the same version without windows goes over it.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall \
		opencv-python-headless==$$(sed -n 's/.*"opencv-python==\(.*\)".*/\1/p' pyproject.toml)
	@touch $@

demo: setup
	$(BIN)/photomaker demo

test: setup
	@command -v npm >/dev/null || { echo "The tests of the JavaScript client need Node.js with npm."; exit 1; }
	$(BIN)/python -m pytest

serve: setup
	PHOTOMAKER_DEPLOYMENT=$${PHOTOMAKER_DEPLOYMENT:-$(NANO)} \
		$(BIN)/localfal serve photomaker_app.py::PhotoMaker --as fal-ai/photomaker

deploy: setup
	$(BIN)/fal deploy photomaker_app.py::PhotoMaker --reset-scale

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

nano: setup
	$(BIN)/python -m training all
