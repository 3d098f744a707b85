"""Runs the tests with real clients: `python3 tests-real/run.py [-k PATTERN]`, or `make test-real`.

Prints each test with its duration, what its processes said when it fails, and at the end one line in the shape of
cargo's, so that one reader counts both. A program or module that is missing ends the run with 2 and the name of its
package; a test that would be skipped counts as failed.
"""

import argparse
import importlib.util
import shutil
import sys
import time
import unittest
from pathlib import Path

import clients
import rig

TAIL = 4000


class Result(unittest.TestResult):
    """Counts tests, not events: a test that fails twice has failed once."""

    def __init__(self):
        super().__init__()
        self.good, self.bad = 0, set()

    def startTest(self, test):
        super().startTest(test)
        self.begun = time.monotonic()

    def stopTest(self, test):
        super().stopTest(test)
        failed = test.id() in self.bad
        self.good += not failed
        print(f"test {test.id()} ... {'FAILED' if failed else 'ok'} ({time.monotonic() - self.begun:.1f} s)", flush=True)

    def addError(self, test, error):
        self.bad.add(test.id())
        print(f"\n---- {test.id()} ----\n{self._exc_info_to_string(error, test)}{logs(test.id())}", flush=True)

    addFailure = addError

    def addSubTest(self, test, subtest, error):
        """Without this a failed `subTest` would be passed over: unittest calls neither of the two above."""
        if error is not None:
            self.bad.add(test.id())
            print(f"\n---- {subtest.id()} ----\n{self._exc_info_to_string(error, test)}{logs(test.id())}", flush=True)

    def addSkip(self, test, reason):
        self.bad.add(test.id())
        print(f"\n---- {test.id()} ----\nskipped, which counts as failed: {reason}", flush=True)


def logs(name):
    """The end of whatever a test's processes wrote, by the name of its directory."""
    directory = rig.WORK / name
    files = [file for file in sorted(directory.glob("*")) if file.suffix in (".out", ".err", ".toml") and file.stat().st_size]
    return "".join(f"-- {file.name}\n{file.read_text(errors='replace')[-TAIL:]}" for file in files)


def lacking(programs, path=None):
    """Those of `programs` that are not there, each with its package."""
    for program, package in programs.items():
        if not shutil.which(program, path=path):
            yield f"{program} is missing: apt-get install {package}, or `make tools`"


def missing():
    """What the tests need and this machine lacks, each with the remedy."""
    yield from lacking(clients.PACKAGES)
    for module in ("grafana_foundation_sdk", "grpc", "locust", "opentelemetry", "websockets"):
        if not importlib.util.find_spec(module):
            yield f"the Python module {module} is missing: use `make test-real`, which runs this in a venv that has it"
    for program in ("load-balancer", "backend"):
        if not (rig.PROGRAMS / program).exists():
            yield f"{rig.PROGRAMS / program} is missing: cargo build --package {program}"


def main(directory=Path(__file__).parent, missing=missing, description="Tests of the balancer with real clients."):
    """Runs the tests of `directory`, unless `missing` names something."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("-k", metavar="PATTERN", action="append", help="only tests whose name contains this")
    wanted = parser.parse_args().k
    lacks = list(missing())
    for lack in lacks:
        print(f"error: {lack}", file=sys.stderr)
    if lacks:
        return 2
    rig.interrupt_on_termination()
    loader = unittest.TestLoader()
    loader.testNamePatterns = [f"*{pattern}*" for pattern in wanted] if wanted else None
    begun, result = time.monotonic(), Result()
    try:
        loader.discover(str(directory)).run(result)
    except KeyboardInterrupt:
        print("\nerror: interrupted", file=sys.stderr)
        return 130
    finally:
        rig.stop_all()
    word = "FAILED" if result.bad or not result.good else "ok"
    print(f"\ntest result: {word}. {result.good} passed; {len(result.bad)} failed; finished in {time.monotonic() - begun:.1f}s")
    return 0 if word == "ok" else 1


if __name__ == "__main__":
    sys.exit(main())
