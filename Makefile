# Two commands do all the set-up: `make demo` shows the story, `make test` proves it.
CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: image-test help demo test test-long check unit stack smoke mutants kill docs bench bench-guard bench-rollback simulation lives soak soak-core fuzz parts image site deny hooks bench-scale corpus conformance cases

help: ## What can be made.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## The whole story on this machine: promotion of v2, rollback of v3. KEEP=1 leaves it running.
	$(CARGO) build --locked -p serin
	./target/debug/serin demo $(if $(KEEP),--keep)

test: check unit smoke lives cases ## Everything that a change can break, 300 simulated lives, and a release on the real kubectl.

test-long: deny stack simulation kill image-test site ## What takes long: 3,000 lives and the mutants, all real parts, kills, the image, chart and site.

check: ## Format and lints.
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

deny: ## Licences, sources and bans of the dependencies.
	parts=$$(scripts/parts.sh long) && eval "$$parts" && "$$SERIN_CARGO_DENY" --locked check licenses bans sources

# The gate is the same for everybody; PROPTEST_RNG_SEED= (empty) looks for new counterexamples.
export PROPTEST_RNG_SEED ?= 20260714

unit: ## Tests of the crates, and of the operator against the API in memory.
	parts=$$(scripts/parts.sh) && eval "$$parts" && $(CARGO) test --workspace --locked --lib --bins --examples --test prometheus --test difference --test it

smoke: ## The manifests installed by kubectl, two replicas, one release.
	parts=$$(scripts/parts.sh) && eval "$$parts" && $(CARGO) test --locked -p serin --test stack the_manifests_install

stack: ## The real kubectl, helm, Traefik, Prometheus and promtool.
	parts=$$(scripts/parts.sh long) && eval "$$parts" && $(CARGO) test --locked -p serin --test stack
	$(CARGO) test --workspace --locked --doc

image: ## The operator's image as an OCI layout in target/image/oci; says its digest and size.
	scripts/image.sh

image-test: image ## Unpacks the image and runs it in a bare root as its user.
	parts=$$(scripts/parts.sh long) && eval "$$parts" && SERIN_IMAGE=$(CURDIR)/target/image/oci $(CARGO) test --locked -p serin --test stack image

site: ## The documentation as a site in target/site; a dead link fails it.
	parts=$$(scripts/parts.sh long) && eval "$$parts" && NO_MKDOCS_2_WARNING=1 "$$SERIN_MKDOCS" build --strict

hooks: ## Runs `make check` before every commit.
	git config core.hooksPath scripts/hooks

cases: ## Situations from public reports on the local cluster with the real Traefik and Prometheus: make cases CASES=../folder
	$(CARGO) build --locked -p serin
	scripts/cases.sh $(CASES)

lives: ## Every order of events of one canary in a small world, and 300 simulated lives of the whole operator.
	$(CARGO) test --profile sim --locked -p serin-core --test exhaustive
	SERIN_SEEDS=$(or $(SERIN_SEEDS),300) $(CARGO) test --profile sim --locked -p serin --test sim no_life_breaks

simulation: mutants ## 3,000 simulated lives of the whole operator, a crash before and after every write of small ones, and deliberate bugs.
	SERIN_SEEDS=$(or $(SERIN_SEEDS),2000) SERIN_TWICE=20 $(if $(SERIN_POINTS),SERIN_POINTS=$(SERIN_POINTS)) SERIN_MUTANT_SEEDS=100 \
	  $(CARGO) test --profile sim --locked -p serin --test sim
	SERIN_WIDE=1 SERIN_SEEDS=$(or $(SERIN_SEEDS),1000) $(CARGO) test --profile sim --locked -p serin --test sim no_life_breaks

# VERSION: which control plane; ONLY: scenarios by name, or `difference`; MINUTES: no further scenario after so many.
# With KUBECONFIG, the cluster that it names is used, in namespaces of its own.
conformance: ## The same scenarios on a real control plane, built from its Go modules: make conformance ONLY=promotion VERSION=1.37
	@conformance/conformance.sh $(or $(VERSION),1.37) $(ONLY)

# FRESH=1 does not begin with the lives in which they were found before.
mutants: ## Every deliberate bug (crates/serin-mutants) is planted in a copy of the source and must be found; SERIN_MUTANT=RetryConflict looks for one in lives.
	$(CARGO) run -q --locked -p serin-mutants -- target/mutants
	SERIN_SEEDS=1000 SERIN_MUTANT_SEEDS=$(or $(SERIN_MUTANT_SEEDS),100) $(if $(FRESH),SERIN_MUTANT_FRESH=1) \
	  $(CARGO) test --manifest-path target/mutants/Cargo.toml --target-dir target --profile sim -p serin-core -p serin \
	  --test exhaustive --test sim --no-fail-fast -- --ignored deliberate --nocapture

kill: ## Kills the parts of a real stack in the middle of 20 releases; six minutes.
	parts=$$(scripts/parts.sh) && eval "$$parts" && SERIN_KILLS=$(or $(SERIN_KILLS),20) $(CARGO) test --locked -p serin --test stack -- --nocapture no_kill

docs: ## Write the generated pages and install manifests anew; a test checks that they are fresh.
	$(CARGO) run -q --locked -p serin -- docs

bench-scale: ## Peak memory of an operator beside 5,000 ConfigMaps and 5,000 Secrets that no canary uses, each up to 1 MiB.
	$(CARGO) build --release --locked -p serin --bin serin --example scale
	./target/release/examples/scale ./target/release/serin

bench-guard: ## The guard against Flagger's rule, how far both are from the bound, and what really happens; minutes on two cores.
	$(CARGO) run --locked --release -p serin-core --example bench_guard

bench-rollback: ## A dead, a healthy and an unlucky release on the real Traefik, Prometheus and kubectl; a quarter of an hour.
	$(CARGO) build --release --locked -p serin --bin serin --example rollback
	parts=$$(scripts/parts.sh) && eval "$$parts" && ./target/release/examples/rollback --serin ./target/release/serin $(ARGS)

corpus: ## Real objects (SERIN_CORPUS names their folder) with a fitting workload: taken up or refused, by router.
	$(if $(SERIN_CORPUS),SERIN_CORPUS=$(abspath $(SERIN_CORPUS))) $(CARGO) test --locked -p serin --test it -- --nocapture real_objects

parts:
	@scripts/parts.sh

bench: ## Figures: requests lost, requests and queries while idle and per step, memory with 1 and 1,000 canaries, size of the binary.
	$(CARGO) build --release --locked -p serin --bin serin --example bench --example loss
	./target/release/examples/loss ./target/release/serin
	./target/release/examples/bench ./target/release/serin
	@ls -l target/release/serin | awk '{printf "size of the binary: %.1f MiB\n", $$5/1048576}'

soak: ## Simulated lives until Ctrl-C, from where the last soak was (soak.json), and a table of all: make soak SERIN_SEEDS=100000
	SERIN_SOAK=$(CURDIR)/soak.json SERIN_LENGTH=$(or $(SERIN_LENGTH),60) $(CARGO) test --profile sim --locked -p serin --test sim a_soak -- --nocapture

soak-core: ## A million releases of the decision core under a model of the cluster: make soak-core SERIN_WALKS=10000 SERIN_FIRST=105000
	SERIN_OLD_LISTS=$(or $(SERIN_OLD_LISTS),no) SERIN_WALKS=$(or $(SERIN_WALKS),112000) $(CARGO) test --profile sim --locked -p serin-core --test exhaustive no_walk -- --nocapture

# What the fuzzer finds is kept in fuzz/corpus and fuzz/artifacts; both are ignored by git.
TARGETS ?= $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
SECONDS_EACH ?= 60

fuzz: ## Coverage-guided search, a minute each: make fuzz TARGETS=promql SECONDS_EACH=3600. Needs nightly and cargo-fuzz.
	for target in $(TARGETS); do \
	  mkdir -p fuzz/corpus/$$target && \
	  RUSTUP_TOOLCHAIN=nightly $(CARGO) fuzz run --fuzz-dir fuzz $$target fuzz/corpus/$$target $$(ls -d fuzz/seeds/$$target 2>/dev/null) -- \
	    -max_total_time=$(SECONDS_EACH) -timeout=10 -max_len=4096 -print_final_stats=1 || exit 1; \
	done
