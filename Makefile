# Every target says what it does: make help.

CARGO  ?= cargo
PREFIX ?= /usr/local

bin := $(or $(CARGO_TARGET_DIR),target)/release

.PHONY: build demo bench bench-policy test unit fuzz install clean help
.DEFAULT_GOAL := build

build: ## compile everything (installs the compilers that are missing)
	tools/setup build
	$(CARGO) build --release --workspace

demo: ## compare EEVDF and scx_mpg in a guest with 2 NUMA nodes: any kernel will do, nothing here is rescheduled
	tools/setup build vm
	$(CARGO) build --release --workspace
	SCX_MPG_BIN=$(abspath $(bin)) tools/demo

bench: ## compare EEVDF, scx_rustland, scx_bpfland and scx_mpg in a guest: a report, and a section of docs/MEASUREMENTS.md
	tools/setup build vm
	$(CARGO) build --release --workspace
	SCX_MPG_BIN=$(abspath $(bin)) tools/measure

bench-policy: ## what one decision of the policy costs, in instructions (valgrind) and in time
	tools/policy-instructions
	$(CARGO) bench --package mpg_policy --bench decisions

test: ## everything that is checked before a change is accepted, on real kernels in guests too
	SCX_MPG_BIN=$(abspath $(bin)) tests/run

unit: ## the tests of what is pure, with its debug assertions, and all interleavings of what is shared: seconds
	$(CARGO) test --package mpg_policy
	$(CARGO) test --release --package mpg_ring

fuzz: ## ten million inputs to each of the parsers of the control socket, the config file and requests for metrics: minutes
	MPG_FUZZ_INPUTS=$(or $(INPUTS),10000000) $(CARGO) test --release --package scx_mpg --bin scx_mpg fuzz -- --nocapture

install: ## install scx_mpg and mpg-bench into PREFIX (/usr/local)
	@test -x $(bin)/scx_mpg || { echo "there is no $(bin)/scx_mpg yet: run make build" >&2; exit 1; }
	install -D -m 755 $(bin)/scx_mpg $(DESTDIR)$(PREFIX)/bin/scx_mpg
	install -D -m 755 $(bin)/mpg-bench $(DESTDIR)$(PREFIX)/bin/mpg-bench
	@test -d /sys/kernel/sched_ext || echo "scx_mpg is installed, but the running kernel $$(uname -r) has no sched_ext, so it will not run before Linux 6.16 or later with CONFIG_SCHED_CLASS_EXT=y is booted."

clean: ## remove what was compiled
	$(CARGO) clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20
