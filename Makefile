# make demo: from a fresh clone to explained predictions.  make test: all checks.  Needs python3 (3.11 or newer).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help install demo lint check test coverage gpu docs clean

help:
	@echo "make demo      install, make the planted-evidence corpus, train a small WavLM on it, explain its predictions,"
	@echo "               and judge three ways to explain them"
	@echo "make check     install, run the linters, the type checker and the quick tests"
	@echo "make test      install, run the linters, the type checker and all tests"
	@echo "make coverage  install, run all tests and say which lines they miss: half as long again"
	@echo "make gpu       run the tests and the benchmarks that need an NVIDIA GPU, install nothing, write benchmarks/gpu.md"
	@echo "make docs      install, write the pages of the Python API to build/docs"
	@echo "make clean     remove the environment (not the runs)"

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

demo: install
	$(BIN)/speechshap train fit --config demo
	run=$$(ls -td runs/demo/version_* | head -n 1) && \
	$(BIN)/speechshap train test --config demo --ckpt_path $$run/checkpoints/best.ckpt && \
	$(BIN)/speechshap explain --ckpt_path $$run --data.max_utterances 12 --explain.n_samples 2000 \
	    --explain.n_draws 64 --report false && \
	$(BIN)/speechshap explain --ckpt_path $$run --data.max_utterances 12 --explain.method integrated_gradients \
	    --explain.n_points auto --explain.layers all && \
	$(BIN)/speechshap benchmark --ckpt_path $$run --data.max_utterances 30 --benchmark.methods \
	    "kernel_shap(baselines=dataset:neutral), gradient_shap(space=stem, baselines=dataset:neutral, n_samples=64), \
	    gradient_shap(n_samples=64), random"
	@echo
	@echo "Open the report (the line above) in a browser, or look at the explanations in TensorBoard"
	@echo "(http://localhost:6006) with:"
	@echo "    $(BIN)/tensorboard --logdir runs --samples_per_plugin=images=100,audio=100"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	mkdir -p build
	cat src/speechshap/report/page/web/*.js > build/report.js  # its parts use each other's names
	$(BIN)/oxlint --deny-warnings build/report.js

# One thread a process: the tests run in as many processes as there are cores.
check test coverage: export OMP_NUM_THREADS = 1

check: lint
	$(BIN)/pytest -n auto -m 'not slow and not browser and not gpu'

test: lint
	$(BIN)/pytest -n auto

coverage: install
	$(BIN)/pytest -n auto --cov

# Machines with a GPU may have no network: it takes the environment, or else the Python that is there.
gpu:
	PYTHONPATH=src $(firstword $(wildcard $(BIN)/python) $(PYTHON)) benchmarks/gpu.py

docs: install
	$(BIN)/pdoc --docformat google --math --output-directory build/docs speechshap

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build
