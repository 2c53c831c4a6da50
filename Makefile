# make demo and make test work on a machine with Python 3.11 and make; the second run installs nothing.

PYTHON ?= $(shell for p in python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
READY := .venv/.ready
# Small networks: on a shared machine two threads are slower than one.
export OMP_NUM_THREADS ?= 1

.PHONY: setup demo test coverage lint bench bench-setup clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer not found; set PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,onnx,chem]'
	@# PESQ is C: without a compiler everything but the audio scores works.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[metrics]' \
		|| echo "note: the metrics extra needs a C compiler; audio scores are left out"
	@touch $@

demo: setup
	$(BIN)/scoregen demo -o demo

test: setup
	$(BIN)/python -m pytest

# Branch coverage of the core.
coverage: setup
	$(BIN)/python -m coverage run --branch --source=scoregen/core -m pytest tests/core
	$(BIN)/python -m coverage report

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The libraries that benchmarks/core.py compares with. azula and k-diffusion go in without their dependencies:
# they would bring torchvision, CLIP and wandb, which their samplers do not use.
bench-setup: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps azula k-diffusion

# DATA is the folder of the data packs described in data/README.md.
bench: bench-setup
	@test -n "$(DATA)" || { echo "error: give the data packs: make bench DATA=/path/to/packs"; exit 2; }
	$(BIN)/python benchmarks/conformers.py --data $(DATA)/molecules --json benchmarks/conformers.json
	$(BIN)/python benchmarks/core.py --json benchmarks/core.json
	$(BIN)/python benchmarks/overhead.py --json benchmarks/overhead.json
	$(BIN)/python benchmarks/vocoder.py --data $(DATA)/speech --json benchmarks/vocoder.json

clean:
	rm -rf demo build .pytest_cache .ruff_cache .mypy_cache
