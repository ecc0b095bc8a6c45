# `make demo` and `make test` do all the set-up: a virtual environment, made once for each Python.
PYTHON ?= python3
VENV := $(if $(filter python3,$(PYTHON)),.venv,.venv-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
WORKERS ?= auto
export PYTHONWARNINGS ?= ignore::SyntaxWarning

.PHONY: demo course test smoke fuzz-ops lint bench clean
.DEFAULT_GOAL := test

# A stamp for each set of packages: nothing is installed twice unless the requirements change.
$(VENV)/.python:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.experiments: $(VENV)/.python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[experiments]'
	touch $@

$(VENV)/.test: $(VENV)/.experiments
	$(INSTALL) --editable '.[experiments,test,lint]'
	touch $@

$(VENV)/.bench: $(VENV)/.experiments
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps torchvision==0.28.0
	$(INSTALL) --editable '.[experiments,bench]'
	touch $@

# Trains the small YOLOv3 on the built-in digits (4 to 6 minutes on two cores, and 2 of set-up) and prints its report.
demo: $(VENV)/.experiments
	$(BIN)/ljx run experiments/ch3_vision/yolo.py --out runs/demo

# Runs every experiment by default, two at a time, and writes runs/course/index.html; run again, it goes on.
# `make course COURSE=--quick` takes those of more than 20 seconds at their smallest sizes.
course: $(VENV)/.experiments
	$(BIN)/ljx course $(COURSE)

test: $(VENV)/.test
	$(BIN)/python -m pytest --numprocesses $(WORKERS)

# The part of the suite that shows whether another Python or JAX works.
smoke: $(VENV)/.test
	LECTURES_JAX_SMOKE=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) tests/ops/test_boxes.py tests/ops/test_nms.py tests/ops/test_convolution.py tests/ops/test_normalization.py tests/ops/test_samplers.py tests/models/test_yolo.py tests/train/test_step.py tests/train/test_resume.py

# Searches for inputs that break a law of the ops, losses and metrics: other ones in each run.
fuzz-ops: $(VENV)/.test
	HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest --numprocesses $(WORKERS) tests/properties

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(VENV)/.bench
	for file in nms coco_map convolution yolo_step classifier_step unet_step mlp_epoch import_time diffusion flow style_step dream_step stylize roi_align selective_search tables; do $(BIN)/python -m benchmarks.$$file || exit; done

clean:
	rm -rf .venv .venv-* build runs *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
