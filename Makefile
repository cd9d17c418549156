# make demo: from a fresh clone to explained predictions.  make test: all checks.  Needs python3 (3.11 or newer).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help install demo test clean

help:
	@echo "make demo   install, make the planted-evidence corpus, train a small WavLM on it, explain its predictions"
	@echo "make test   install, run the linters, the type checker and all tests"
	@echo "make clean  remove the environment (not the runs)"

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

demo: install
	$(BIN)/python train.py fit --config configs/demo.yaml
	checkpoint=$$(ls -t runs/demo/version_*/checkpoints/best.ckpt | head -n 1) && \
	$(BIN)/python train.py test --config configs/demo.yaml --ckpt_path $$checkpoint && \
	$(BIN)/python explain.py --ckpt_path $$checkpoint --data.max_utterances 12 --explain.n_samples 300 \
	    --explain.targets predicted,runner-up --explain.layers all --explain.spectrum.num_mel_bands 64
	@echo
	@echo "Open the report (the line above) in a browser, or look at the explanations in TensorBoard"
	@echo "(http://localhost:6006) with:"
	@echo "    $(BIN)/tensorboard --logdir runs --samples_per_plugin=images=100,audio=100"

# One thread a process: the tests run in as many processes as there are cores.
test: export OMP_NUM_THREADS = 1
test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/oxlint --deny-warnings src
	$(BIN)/pytest -n auto --cov

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
