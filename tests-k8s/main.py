"""Runs the tests of the Kubernetes manifests: `python3 tests-k8s/main.py [-k PATTERN]`, or `make test-k8s`.

The runner is that of tests-real, as are processes and waiting; only what must be there differs.
"""

import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "tests-real"))

import manifests  # noqa: E402
import rig  # noqa: E402
import run  # noqa: E402

PROGRAMS = {"setpriv": "util-linux"}
MODULES = ("checkov", "kubernetes_validate", "yaml")


def missing():
    yield from run.lacking(PROGRAMS)
    for program in (manifests.KUBECTL, manifests.PROMETHEUS):
        if not program.exists():
            yield f"{program} is missing: `make tools`"
    for module in MODULES:
        if not importlib.util.find_spec(module):
            yield f"the Python module {module} is missing: use `make test-k8s`, which runs this in a venv that has it"
    for program in ("load-balancer", "backend"):
        if not (rig.PROGRAMS / program).exists():
            yield f"{rig.PROGRAMS / program} is missing: cargo build --package {program}"


if __name__ == "__main__":
    sys.exit(run.main(HERE, missing, "Tests of the Kubernetes manifests."))
