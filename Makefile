# Two commands matter: `make demo` and `make test`. `make help` lists the rest.
VENV ?= .venv
PYTHON ?= python3
WORKERS ?= 2
RUN = OMP_NUM_THREADS=1 $(VENV)/bin/python
SHARE = -n $(WORKERS) --dist worksteal
EXPORT = MAKE_TARGET="$(or $(MAKECMDGOALS),demo)"

.PHONY: help demo test check lint docs notebooks test-cpu test-kernels test-interpret test-compile test-slow static matrix gpu rehearse kills browser fuzz install-demo install-test test-multisk release-check clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

install-demo:
	@$(EXPORT) $(PYTHON) tools/install.py $(VENV) rfpmss

install-test:
	@$(EXPORT) $(PYTHON) tools/install.py $(VENV) rfpmss docs test

demo: install-demo ## environment, phantom cohort, pretraining, evaluation, one HTML page (4 minutes on two cores, 2.6 GB of disk)
	$(RUN) -m rfpmss.train

test: install-test lint docs test-cpu test-kernels ## the whole suite (about 15 minutes on two quiet cores)

SINCE ?= HEAD
check: ## the inner loop: lint what changed since SINCE, run the tests that import it
	$(RUN) tools/check.py $(SINCE)

lint: ## ruff, pyright, import-linter
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python
	$(VENV)/bin/lint-imports

docs: install-test ## the documentation site in build/site: strict, links checked, nothing fetched
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build

notebooks: install-test ## run the tutorials and store what they print and draw
	$(RUN) tools/notebooks.py

test-cpu: ## everything that needs neither a GPU nor a process of its own
	$(RUN) -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-kernels: test-interpret test-compile ## both suites of the Triton kernels

test-interpret: ## Triton kernels in Triton's interpreter
	TRITON_INTERPRET=1 $(RUN) -m pytest -q $(SHARE) -m interpret tests/kernels

test-compile: ## Triton kernels compiled ahead of time for four GPUs
	$(RUN) -m pytest -q $(SHARE) -m compile tests/kernels

static: install-test ## every launcher in every configuration, ahead of time (over an hour; compiles what the table lacks)
	$(RUN) -m pytest -q -m slow -k every_configuration tests/kernels/launches/test_compile.py

matrix: ## the kernel suites under Triton 3.6, 3.7 and 3.9, each in an environment of its own
	$(PYTHON) tools/matrix.py

GPU_OUT ?= build/gpu
gpu: ## check the kernels on a GPU, then time them, with a python that has CUDA (12 minutes)
	$(PYTHON) -m benchmarks.gpu --out $(GPU_OUT)

rehearse: ## the same on tiny cases without a GPU, in an environment as bare as a GPU machine's
	$(PYTHON) tools/rehearse_gpu.py

kills: install-test ## a hundred SIGKILLs, every resumed run equal to the bit (long)
	$(RUN) -m pytest -q -m slow -k a_hundred_kills tests/runs/test_resume.py

FUZZ ?= 60
browser: install-test ## the pages of a cohort, a run and a patient in headless Chromium, pictures in build/browser
	$(RUN) tools/browser.py

fuzz: install-test ## coverage-guided fuzzing of the six readers, FUZZ seconds each
	$(VENV)/bin/pip install --quiet -c constraints.txt atheris
	$(RUN) tests/data/readers/fuzz.py all -max_total_time=$(FUZZ)

test-slow: install-test ## the minutes-long tests
	$(RUN) -m pytest -q -m slow -k "not every_configuration"

test-multisk: ## multisk alone, with the fewest packages: also what runs on macOS
	@$(EXPORT) $(PYTHON) tools/install.py $(VENV) cpu test
	$(RUN) -m pytest -q -n $(WORKERS) --dist loadfile tests/solver tests/assign tests/layers tests/moe

release-check: install-test ## dry run of a release: build, check, install the wheel afresh, run the README's lines
	$(VENV)/bin/pip install --quiet -c constraints.txt twine
	$(RUN) tools/release.py

clean: ## remove what was built (not the cohort, not the runs)
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
