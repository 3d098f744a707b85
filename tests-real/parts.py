"""Tests in processes of their own, two at a time: most of them wait, for health checks, intervals and timeouts.

A part is one class, or all classes with the same `shares` (fixed ports, a Docker daemon's networks), which must never run
beside each other. Those marked `alone`, with the reason, go by times: they have the machine for themselves, after the others.
The rest holds on one that is far busier (all passed at a load of 17 on two cores). `early` is for what takes longest, so that nothing waits for it at the end. Each part's output is shown whole
when it has ended; one that ends without its result counts as a failed test.
"""

import re
import subprocess
import sys
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor

AT_ONCE = 2
SLOWEST = 10


def classes(suite):
    """Every class by its name, in the order they were found; what cannot be imported by that of its module."""
    found = {}
    for one in suite:
        if isinstance(one, unittest.TestSuite):
            found |= classes(one)
        else:
            kind = type(one)
            broken = kind.__module__ == "unittest.loader"
            found[one._testMethodName if broken else f"{kind.__module__}.{kind.__qualname__}"] = kind
    return found


def divided(kinds):
    """Names of classes that belong together: of those that may run beside others, and of those that may not."""
    shared = {}
    for name, kind in sorted(kinds.items(), key=lambda one: not getattr(one[1], "early", False)):
        shared.setdefault((bool(getattr(kind, "alone", "")), getattr(kind, "shares", name)), []).append(name)
    return tuple([names for (alone, _), names in shared.items() if alone is wanted] for wanted in (False, True))


def run(script, kinds, patterns):
    """Runs them all; seconds by test, and whether every test passed."""
    output, running, took, good = threading.Lock(), set(), {}, True

    def part(names):
        nonlocal good
        # Ends with us, and then ends what it has started.
        command = ["setpriv", "--pdeathsig", "TERM", sys.executable, script, *(f"--only={name}" for name in names)]
        command += [f"-k={pattern}" for pattern in patterns]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            running.add(process)
            said = process.communicate()[0].decode(errors="replace")
            running.remove(process)
        with output:
            print(said, end="", flush=True)
            took.update((name, float(seconds)) for name, seconds in re.findall(r"^test (\S+) \.\.\. \w+ \(([\d.]+) s\)$", said, re.MULTILINE))
            good = good and process.returncode == 0
            if not re.search(r"^test result: ", said, re.MULTILINE):
                print(f"{' '.join(names)} ended with {process.returncode}\ntest result: FAILED. 0 passed; 1 failed", flush=True)

    beside, alone = divided(kinds)
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        list(pool.map(part, beside))
        for names in alone:
            part(names)
    finally:
        # Where we are interrupted.
        pool.shutdown(wait=False, cancel_futures=True)
        for process in running.copy():
            process.terminate()
        pool.shutdown()
    return took, good


def slowest(took):
    """Lines for those that took longest."""
    for name, seconds in sorted(took.items(), key=lambda one: -one[1])[:SLOWEST]:
        yield f"{seconds:7.1f} s  {name}"
