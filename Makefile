# Every target does its own set-up. `make help` lists them.
.DEFAULT_GOAL := help
.ONESHELL:
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

PYTHON3 ?= python3
PYTHON := .venv/bin/python
IMAGE ?= bert-textclassification
MODEL ?= runs/demo/model
PORT ?= 8080
NAME ?= mine
DATA ?= local_test/test_dir/input/data
SETTINGS ?=
RUN ?=
TRIALS ?= 20
SPACE ?= src/bert_textclassification/training/tuning/search_space.yaml
CUDA_PACKAGES := cuda-bindings cuda-toolkit nvidia-cudnn-cu13 nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvshmem-cu13 triton
export JUPYTER_PLATFORM_DIRS := 1
export PYTHONDONTWRITEBYTECODE :=  # else every process compiles what it imports: uv installs sources, and images often set it
unexport IMAGE MODEL PORT NAME DATA SETTINGS RUN TRIALS SPACE  # make would expand a $ in them

# $(call given,NAME): the variable as one word of the shell, whatever characters a person has put in it.
given = '$(subst ','\'',$(value $(1)))'
# $(run) COMMAND ARGUMENTS: a command of the package, with the words of SETTINGS behind its arguments.
run = exec $(PYTHON) tools/run.py $(call given,SETTINGS)
PYTEST := $(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder
C_SOURCES := $(wildcard $(addprefix src/bert_textclassification/engines/native/,*.c *.h *.inc */*.c */*.h */*.inc))
SHELL_SCRIPTS := .ci/run $(wildcard local_test/*.sh findings/*.sh ops/gateway/model_in_lambda/*.sh)
# The tests of what other libraries may change under us: the engines, the server, training and export.
VERSION_TESTS := tests/artifact tests/engines tests/serving tests/training/fine_tuning tests/training/export tests/training/modeling

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

demo: .venv/installed system-packages  ## run the four notebooks on the data in the repository; print a summary and one line of JSON
	@exec $(PYTHON) -m bert_textclassification notebooks --name demo epochs=2

notebooks: .venv/installed system-packages  ## the same on your data: make notebooks NAME=mine DATA=mine.csv SETTINGS="epochs=3"
	@$(run) notebooks --name $(call given,NAME) --data $(call given,DATA)

search: .venv/installed-search  ## search for the best settings; the same command resumes: make search NAME=mine DATA=mine.csv TRIALS=20
	@$(run) search --name $(call given,NAME) --data $(call given,DATA) \
		--trials $(call given,TRIALS) --space $(call given,SPACE)

lab: .venv/installed  ## open the notebooks in JupyterLab
	@exec $(PYTHON) -m jupyterlab --notebook-dir notebooks --KernelManager.transport_encryption=auto

publish: .venv/installed  ## copy the results of a run to notebooks/results and docs/benchmarks.md: make publish NAME=mine
	@$(PYTHON) -m tools.publish $(call given,NAME)

tables: .venv/installed  ## write the generated parts of README.md and docs/
	@$(PYTHON) -m tools.documentation

docs: .venv/installed-docs  ## build the documentation in build/docs, with the notebooks of a run: make docs RUN=demo
	@$(PYTHON) -m tools.docs_site $(if $(value RUN),--run $(call given,RUN))

docs-links: .venv/installed-docs  ## check the external links of the documentation
	@$(PYTHON) -m tools.docs_site --links --output build/docs-links

serve: .venv/installed system-packages  ## serve an artifact as the container does: make serve MODEL=runs/demo/model PORT=8080
	@exec $(PYTHON) -m bert_textclassification serve --model $(call given,MODEL) --port $(call given,PORT)

load: .venv/installed system-packages  ## load test of the serving stack: make load MODEL=runs/demo/model DATA=texts.csv
	@$(run) benchmark load --model $(call given,MODEL) --data $(call given,DATA)

benchmark: .venv/installed system-packages  ## the optimisation ladder, from BERT-base in torch to the served model: make benchmark MODEL=runs/sst2/model DATA=test.csv
	@$(PYTHON) tools/run.py $(call given,SETTINGS) benchmark ladder --model $(call given,MODEL) --data $(call given,DATA)
	$(PYTHON) -m tools.documentation

benchmark-training: .venv/installed  ## fine-tuning against the Trainer's defaults: make benchmark-training NAME=mine DATA=mine.csv
	@$(run) benchmark training --name $(call given,NAME) --data $(call given,DATA)

test: .venv/installed-test system-packages  ## the fast tests, two files at a time
	@$(PYTEST) -m "not slow"

test-all: .venv/installed-test system-packages  ## all tests: also the slow ones, and those of images and real data if these are available
	@$(PYTEST)

test-clouds: .venv/installed  ## the files for Cloud Run, Vertex AI, Azure ML, KServe and Terraform against the vendors' schemas, in a separate environment
	@$(PYTHON) -m uv run --quiet --isolated --no-project --python "$(PYTHON)" --with . \
		--with "google-api-python-client>=2.150,<3" --with "azure-ai-ml>=1.35,<2" --with "kserve>=0.15,<1" \
		--with cdktf-cdktf-provider-aws==21.22.1 --with "python-hcl2>=8,<9" --with "pytest>=8.3,<10" pytest \
		tests/ops/test_cloud_run.py tests/ops/test_vertex_ai.py tests/ops/test_azure_ml.py tests/ops/test_kserve.py \
		tests/ops/test_terraform_schema.py

coverage: .venv/installed-test system-packages  ## the fast tests with line coverage, which must reach a minimum
	@rm -f .coverage .coverage.*
	$(PYTHON) -m coverage run -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"
	$(PYTHON) -m coverage combine --quiet
	$(PYTHON) -m coverage report

test-versions: .venv/installed-test system-packages  ## part of the fast tests with the lowest and with the newest versions that pyproject.toml admits
	@for resolution in lowest-direct highest; do
		$(PYTHON3) -m venv --clear build/$$resolution
		build/$$resolution/bin/python tools/install.py --resolution $$resolution dev
		echo "the $$resolution versions:" >&2
		build/$$resolution/bin/python -m pytest -W default -n 2 --dist loadfile --no-loadscope-reorder -m "not slow" $(VERSION_TESTS)
	done

lines:  ## count the lines of code, tests and documentation
	@count() { find "$${@:2}" -type f \( -name '*.py' -o -name '*.c' -o -name '*.h' -o -name '*.inc' -o -name '*.sh' -o -name '*.md' -o -name '*.yaml' -o -name '*.tf' \) -exec cat {} + | wc -l | xargs printf '%-6s %7d lines\n' "$$1"; }
	for folder in src ops tests tools; do count $$folder $$folder; done
	count docs docs README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md

lint: .venv/installed-test  ## style and format of Python, C and shell scripts, types, and notebooks without outputs
	@$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	.venv/bin/clang-format --dry-run --Werror $(C_SOURCES)
	.venv/bin/shellcheck $(SHELL_SCRIPTS)
	$(PYTHON) -m nbstripout --verify --keep-id --extra-keys metadata.papermill notebooks/*.ipynb

image: .venv/installed  ## build the images: IMAGE:serve (small) and IMAGE:latest (serve and train)
	@# The wheel that this machine's package index gives, so that an index with CPU builds spares gigabytes of CUDA.
	ls container/wheels/torch-*.whl >/dev/null 2>&1 || $(PYTHON) -m pip download --quiet --no-deps --dest container/wheels "$$(grep '^torch==' container/constraints.txt)"
	version=$$($(PYTHON) -m bert_textclassification --version)
	for target in serve train; do
		tag=$$target; [ $$target = serve ] || tag=latest
		docker build --file container/Dockerfile --build-arg "VERSION=$${version##* }" --target $$target --tag $(call given,IMAGE):$$tag .
	done

lambda-image: image  ## the serve image with a model inside, for AWS Lambda: make lambda-image MODEL=runs/demo/model
	@SERVE_IMAGE=$(call given,IMAGE):serve ops/gateway/model_in_lambda/build.sh $(call given,MODEL) $(call given,IMAGE):lambda

system-packages:  ## install nginx if it is missing (apt-get or Homebrew; without questions)
	@PATH="$$PATH:/usr/sbin:/usr/local/sbin" command -v nginx >/dev/null && exit 0
	if command -v apt-get >/dev/null; then
		as_root=; [ "$$(id -u)" = 0 ] || as_root="sudo -n"
		echo "installing nginx with apt-get" >&2
		$$as_root apt-get -qq update
		DEBIAN_FRONTEND=noninteractive $$as_root apt-get install -y -qq --no-install-recommends nginx >/dev/null
	elif command -v brew >/dev/null; then
		brew install --quiet nginx
	else
		echo "error: nginx is missing and there is no apt-get or brew here; install nginx, then try again." >&2
		exit 1
	fi

constraints: .venv/installed-test  ## update container/constraints.txt from the installed versions, and the hashed requirements from it
	@{ sed -n '1p' container/constraints.txt; $(PYTHON) -m pip freeze --all --exclude pip --exclude-editable | sed 's/+cpu$$//' | LC_ALL=C sort -f; } > container/constraints.partial
	mv container/constraints.partial container/constraints.txt
	hashed() {
		$(PYTHON) -m uv pip compile --quiet --upgrade --python-version 3.11 --python-platform x86_64-manylinux_2_28 --only-binary :all: \
			--generate-hashes --no-emit-index-url --annotation-style line --custom-compile-command "make constraints" \
			--constraints container/constraints.txt --extra "$$1" --output-file "container/requirements-$$1.txt" "$${@:2}" pyproject.toml
	}
	# tokenizers needs its hub client only to download; the serving image never does.
	hashed serve --excludes <(echo huggingface-hub)
	# torch has another hash for every build (CPU, CUDA), and only the CUDA builds need NVIDIA's packages and triton.
	hashed train --no-emit-package torch --excludes <(printf '%s\n' $(CUDA_PACKAGES))

clean:  ## delete the outputs of the targets, except the runs
	@rm -rf .venv build docs/notebooks src/*.egg-info src/*/engines/native/*.so .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache container/wheels/*.whl

compiler:  ## install a C compiler and Python's headers if they are missing (apt-get); the native engine needs them
	@include=$$($(PYTHON3) -c 'import sysconfig; print(sysconfig.get_path("include"))')
	missing=""
	command -v cc >/dev/null || missing="gcc libc6-dev"
	[ -e "$$include/Python.h" ] || missing="$$missing python3-dev"
	[ -n "$$missing" ] || exit 0
	as_root=; [ "$$(id -u)" = 0 ] || as_root="sudo -n"
	if command -v apt-get >/dev/null && $$as_root apt-get -qq update; then
		echo "installing $$missing with apt-get" >&2
		DEBIAN_FRONTEND=noninteractive $$as_root apt-get install -y -qq --no-install-recommends $$missing >/dev/null && exit 0
	fi
	echo "There is no C compiler and none could be installed: the native engine is left out, and ONNX Runtime serves." >&2

.venv/installed: pyproject.toml container/constraints.txt tools/install.py $(wildcard src/bert_textclassification/engines/native/*.[ch] src/bert_textclassification/engines/native/*.inc) | compiler
	@$(PYTHON3) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "error: Python 3.11 or newer is needed; set PYTHON3 to one.")'
	$(PYTHON3) -m venv .venv
	echo "installing the package with what training, notebooks and serving need into .venv (a minute or two)" >&2
	$(PYTHON) tools/install.py notebooks
	touch $@

# What only the search, the documentation, and tests and linters need.
.venv/installed-search: EXTRAS := search
.venv/installed-docs: EXTRAS := docs
.venv/installed-test: EXTRAS := dev
.venv/installed-search .venv/installed-docs .venv/installed-test: .venv/installed
	@echo "adding the extra $(EXTRAS) to .venv" >&2
	$(PYTHON) tools/install.py notebooks $(EXTRAS)
	touch $@

.PHONY: coverage lines test-versions lambda-image help demo notebooks search lab publish tables docs docs-links serve load benchmark benchmark-training test test-all test-clouds lint image system-packages compiler constraints clean
