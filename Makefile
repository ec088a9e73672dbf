# The two commands of a newcomer, `make demo` and `make test`, and a few of a developer. CMake does the building.
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
PREFIX ?= /usr/local
BUILD := build/release
MLXN := $(BUILD)/bin/mlxn
GENERATE := generate -p "The query planner" -n 96 --temp 0.7 --top-k 40 --seed 7

.PHONY: demo test build install packages format clean

demo: configure
	@cmake --build $(BUILD) -j $(JOBS) --target mlxn
	@for model in dense moe; do \
	  printf '\n== mlxn $(GENERATE) -m share/models/docs-%s.q4_k_m.gguf\n' "$$model"; \
	  $(MLXN) $(GENERATE) -m share/models/docs-$$model.q4_k_m.gguf || exit 1; \
	done

test: build
	@ctest --test-dir $(BUILD) --output-on-failure -R '^(Examples|IsaSymbols)[.]'
	@scripts/run_tests.py --jobs $(JOBS) $(BUILD)/bin/mlxn_tests

build: configure
	@cmake --build $(BUILD) -j $(JOBS)

.PHONY: configure
configure: packages
	@cmake --preset release -B $(BUILD) --log-level=WARNING

packages:
	@packaging/install.sh build test

# A build of its own, without the tests and what only they need.
install: packages
	cmake --preset release -B build/install -DMLXN_BUILD_TESTS=OFF -DCMAKE_INSTALL_PREFIX=$(PREFIX)
	cmake --build build/install -j $(JOBS)
	cmake --install build/install

format:
	git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | grep -v '^tests/acceptance/' | xargs clang-format-14 -i

clean:
	rm -rf build
