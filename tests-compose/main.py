"""Runs the tests of the containers: `python3 tests-compose/main.py [-k PATTERN]`, or `make test-compose`.

The runner is that of tests-real, as is the Docker daemon; only what must be there differs.
"""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "tests-real"))

import docker  # noqa: E402
import run  # noqa: E402
import standins  # noqa: E402

PROGRAMS = {
    "cargo": "Rust: https://rustup.rs",
    "cargo-cyclonedx": "cargo install --locked cargo-cyclonedx",
    "curl": "curl",
    "debootstrap": "debootstrap",
    "docker": "docker.io, and docker-cli where that is a package of its own",
    "dockerd": "docker.io",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}


def missing():
    yield from run.lacking(PROGRAMS, docker.PATH)
    os.environ["DOCKER_CONFIG"] = str(standins.DOCKER_CONFIG)
    known = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if known.returncode != 0:
        yield "docker compose (version 2) is missing: `make tools`"


if __name__ == "__main__":
    sys.exit(run.main(HERE, missing, "Tests of docker-compose.yml and Dockerfile on a real daemon."))
