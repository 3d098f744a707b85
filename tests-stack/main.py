"""Runs the tests of the stack: `python3 tests-stack/main.py [-k PATTERN]`, or `make test-stack`.

The runner is that of tests-real, as are processes and waiting; only what must be there differs.
"""

import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "tests-real"))

import run  # noqa: E402

PROGRAMS = {
    "influxd": "influxdb",
    "prometheus": "prometheus",
    "prometheus-node-exporter": "prometheus-node-exporter",
    "promtool": "prometheus",
    "redis-cli": "redis-tools",
    "redis-server": "redis-server",
    "setpriv": "util-linux",
}
MODULES = ("grpc", "locust", "opentelemetry", "promql_parser", "yaml")


def missing():
    yield from run.lacking(PROGRAMS)
    for module in MODULES:
        if not importlib.util.find_spec(module):
            yield f"the Python module {module} is missing: use `make test-stack`, which runs this in a venv that has it"


if __name__ == "__main__":
    sys.exit(run.main(HERE, missing, "Tests of the observability stack with real programs."))
