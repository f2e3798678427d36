# Two commands: `make demo` trains, evaluates and draws on synthetic data; `make test` runs every check.
# They set up .venv/ first and need Python 3.10 to 3.13 with venv, and a package index.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
DEMO_DIR := work_dirs/demo
DEMO_CONFIG := configs/faster_rcnn_shufflenet_coco.py

.PHONY: demo test lint docs clean

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet --editable '.[lite,export,test]'
	touch $@

demo: $(VENV)/.installed
	$(RUN) -m shufflenet_det
	$(RUN) tools/train.py $(DEMO_CONFIG) --demo --work-dir $(DEMO_DIR) --resume
	$(RUN) tools/test.py $(DEMO_CONFIG) $(DEMO_DIR)/best_*.pth --demo --work-dir $(DEMO_DIR)
	$(RUN) tools/demo.py $(DEMO_DIR)/$(notdir $(DEMO_CONFIG)) $(DEMO_DIR)/best_*.pth \
		data/demo/val2017 --score-thr 0.5 --out-dir $(DEMO_DIR)/drawn

test: lint
	OMP_NUM_THREADS=1 $(RUN) -m pytest --numprocesses 2 --dist loadfile

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

clean:
	rm -rf $(DEMO_DIR) data/demo

docs: $(VENV)/.installed
	$(RUN) -m pip install --quiet --editable '.[lite,export,docs]'
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(RUN) -m jupyter execute --output executed docs/quickstart.ipynb
	mkdir -p build && mv docs/executed.ipynb build/quickstart.ipynb
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict --quiet
	@echo "Pages: build/site/index.html; the notebook as it ran: build/quickstart.ipynb"
