# Needs Python 3.10+ and make; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
export PYTHONDONTWRITEBYTECODE ?= 1

.PHONY: install demo test test-slow lint clean

$(VENV)/.installed: setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --prefer-binary -c constraints.txt -e '.[dev]'
	@# mmcv asks for the OpenCV build with a window system; a machine without one gets the headless build in its place.
	$(PY) -c "import cv2" 2>/dev/null || \
	  $(PY) -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps -c constraints.txt opencv-python-headless
	touch $@

install: $(VENV)/.installed

demo: install
	$(PY) tools/demo.py

test: install
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m pytest -q -n 2 --dist worksteal -m 'not slow'

test-slow: install
	$(PY) -m pytest -q

lint: install
	$(PY) -m ruff check .
	$(PY) -m mypy

clean:
	rm -rf $(VENV) *.egg-info
