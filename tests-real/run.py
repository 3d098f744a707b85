"""Runs the tests with real clients: `python3 tests-real/run.py [-k PATTERN]`, or `make test-real`.

Prints each test with its duration, what its processes said when it fails, and in the end those that took longest and a
line in the shape of cargo's, so that one reader counts both; where classes run beside each other (`parts`) such a line for
each. A program or module that is missing ends the run with 2 and the name of its package; a test that would be skipped
counts as failed.
"""

import argparse
import importlib.util
import shutil
import sys
import time
import unittest
from pathlib import Path

import clients
import parts
import rig

TAIL = 4000


class Result(unittest.TestResult):
    """Counts tests, not events: a test that fails twice has failed once."""

    def __init__(self):
        super().__init__()
        self.good, self.bad, self.took = 0, set(), {}

    def startTest(self, test):
        super().startTest(test)
        self.begun = time.monotonic()

    def stopTest(self, test):
        super().stopTest(test)
        failed = test.id() in self.bad
        self.good += not failed
        self.took[test.id()] = took = time.monotonic() - self.begun
        print(f"test {test.id()} ... {'FAILED' if failed else 'ok'} ({took:.1f} s)", flush=True)

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


def main(directory=Path(__file__).parent, missing=missing, description="Tests of the balancer with real clients.", beside=False):
    """Runs the tests of `directory`, unless `missing` names something; with `beside` its classes as `parts` has them."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("-k", metavar="PATTERN", action="append", default=[], help="only tests whose name contains this")
    parser.add_argument("--only", metavar="CLASS", action="append", default=[], help="only this class, here and now, as MODULE.CLASS")
    wanted = parser.parse_args()
    lacks = [] if wanted.only else list(missing())
    for lack in lacks:
        print(f"error: {lack}", file=sys.stderr)
    if lacks:
        return 2
    rig.interrupt_on_termination()
    loader = unittest.TestLoader()
    loader.testNamePatterns = [f"*{pattern}*" for pattern in wanted.k] or None
    tests = loader.loadTestsFromNames(wanted.only) if wanted.only else loader.discover(str(directory))
    begun, result = time.monotonic(), Result()
    try:
        kinds = parts.classes(tests)
        if beside and not wanted.only and len(kinds) > 1:
            took, good = parts.run(sys.argv[0], kinds, wanted.k)
        else:
            tests.run(result)
            took, good = result.took, result.good and not result.bad
    except KeyboardInterrupt:
        print("\nerror: interrupted", file=sys.stderr)
        return 130
    finally:
        rig.stop_all()
    seconds = time.monotonic() - begun
    if not wanted.only:
        print("", f"{len(took)} tests in {seconds:.0f} s, the slowest:", *parts.slowest(took), sep="\n")
    if took is result.took:
        counts = f"{result.good} passed; {len(result.bad)} failed; finished in {seconds:.1f}s"
        print(f"\ntest result: {'ok' if good else 'FAILED'}. {counts}", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(beside=True))
