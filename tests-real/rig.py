"""Real processes for the tests: backends, the balancer before them, and a certain end for all of them.

Everything listens on 127.0.0.1 on ports the kernel chose, and tells them itself: the backend on standard output, the
balancer in its log. Waiting is always for a condition, with a bound. Each process writes to a file of its own in the
test's directory, which the runner prints when the test fails.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import exposition

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
# BALLAST_… would be taken for configuration, hence another prefix.
PROGRAMS = Path(os.environ.get("TESTS_REAL_PROGRAMS", TARGET / "debug")).resolve()
WORK = TARGET / "tests-real"
EXAMPLES = ROOT / "load-balancer" / "examples"

START_WITHIN = 20.0
STOP_WITHIN = 10.0
POLL = 0.02


def until(condition, what, within=START_WITHIN, every=POLL):
    """Waits until `condition()` is true and returns it; fails with `what` after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {what}")
        time.sleep(every)


def directory(test):
    """An empty directory of this test's own."""
    own = WORK / test
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True)
    return own


def environment():
    """Ours without what would configure the programs under test, and without colours in their logs."""
    ours = ("BALLAST_", "OTEL_", "SERVER_ID", "REGISTER_", "ADVERTISE_", "LOCUST_")
    plain = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    for key in ("NAME", "HOST", "PORT", "BIND", "REGION", "WEIGHT", "FAULT", "RUST_LOG"):
        plain.pop(key, None)
    return {**plain, "NO_COLOR": "1"}


def listening(ports):
    """Those of `ports` that somebody listens on, by the kernel's own table."""
    states = [line.split()[1:4:2] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    open_ports = {int(local.rpartition(":")[2], 16) for local, state in states if state == "0A"}
    return sorted(open_ports.intersection(ports))


def free_port():
    """A port that nobody had a moment ago, for programs that cannot say which one the kernel gave them."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def children(pid):
    """The processes that `pid` started and that still run."""
    files = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in files for child in file.read_text().split()]


def flags(pid):
    """The arguments of a process, each with the one after it; none where it has ended."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return dict(zip(words, words[1:]))


class Process:
    """One program, its output in `<log>.out` and `<log>.err`; killed with us should we be killed."""

    started = []

    def __init__(self, log, *argv, **env):
        self.out, self.err = log.with_suffix(".out"), log.with_suffix(".err")
        argv = ["setpriv", "--pdeathsig", "KILL", *map(str, argv)]
        with self.out.open("ab") as out, self.err.open("ab") as err:
            self.popen = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env={**environment(), **env}
            )
        Process.started.append(self)

    def said(self, pattern, file):
        """The match of `pattern` in `file`, once it is there; an early end of the program is a failure."""
        def look():
            match = re.search(pattern, file.read_text(errors="replace"))
            if not match and self.popen.poll() is not None:
                raise AssertionError(f"{self.err.stem} ended with {self.popen.returncode}: {self.err.read_text()}")
            return match
        return until(look, f"{pattern!r} in {file.name}")

    def signal(self, number):
        self.popen.send_signal(number)

    def wait(self, within=STOP_WITHIN):
        """The exit code."""
        return self.popen.wait(within)

    def kill(self):
        """Ends it without asking, as a crash would."""
        self.popen.kill()
        self.popen.wait()

    def stop(self):
        """Ends it: politely, then not."""
        if self.popen.poll() is not None:
            return
        self.popen.terminate()
        try:
            self.popen.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.kill()


class Backend(Process):
    """A replica; after `kill` and `restart` it is there again at the same address."""

    def __init__(self, directory, name, port=0, *flags):
        self.directory, self.name, self.flags = directory, name, flags
        out = (directory / name).with_suffix(".out")
        out.unlink(missing_ok=True)
        super().__init__(directory / name, PROGRAMS / "backend", "--name", name, "--port", port, *flags)
        self.address = self.said(r"listening on http://(\S+)\n", self.out)[1]

    def restart(self):
        return Backend(self.directory, self.name, self.address.rpartition(":")[2], *self.flags)

    def fault(self, **fault):
        """Breaks it; needs the flag --fault."""
        post(f"http://{self.address}/fault", json.dumps(fault).encode())

    def answered(self):
        """How many requests it answered, health checks included, by its own count."""
        return exposition.parse(get(f"http://{self.address}/metrics")[1]).sum("backend_requests_total")


class Serving(Process):
    """`load-balancer serve --config FILE`, once it listens."""

    def __init__(self, directory, config, log="balancer", within=(), **env):
        """`within` is a command that runs it, as prlimit does."""
        super().__init__(directory / log, *within, PROGRAMS / "load-balancer", "serve", "--config", config, **env)
        match = self.said(r"listening traffic=(\S+) admin=(\S+)", self.err)
        self.traffic, self.admin = f"http://{match[1]}", f"http://{match[2]}"

    def replicas(self):
        """Its members by /rep."""
        code, text = get(f"{self.admin}/rep")
        assert code == 200, text
        return json.loads(text)["message"]["replicas"]

    def control(self, endpoint, **fields):
        """Status and answer of /add or /rm, by the admin listener."""
        body = json.dumps(fields).encode()
        code, text = fetch(urllib.request.Request(self.admin + endpoint, data=body, method="POST"))
        return code, json.loads(text)

    def facts(self):
        """What has happened to the pool, the oldest first."""
        code, text = get(f"{self.admin}/decisions?format=json&last=1000")
        assert code == 200, text
        return json.loads(text)["facts"]

    def processes(self):
        """Its replicas' processes: name to process id."""
        return {flags(pid).get("--name"): pid for pid in children(self.popen.pid) if "--name" in flags(pid)}

    def eligible(self):
        """Backends that may be picked, as /ready says."""
        code, text = get(f"{self.admin}/ready")
        match = re.match(r"ready: (\d+)", text)
        return int(match[1]) if code == 200 and match else 0

    def metrics(self):
        code, text = get(f"{self.admin}/metrics")
        assert code == 200, text
        return exposition.parse(text)

    def cpu(self):
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.popen.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self):
        """Physical memory it holds, in bytes."""
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def peak_memory(self):
        """The most physical memory it ever held, in bytes."""
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


class Balancer(Serving):
    """The same before `backends`; `settings` is TOML that goes before the pool."""

    def __init__(self, directory, backends, settings="", algorithm="adaptive", within=()):
        config = directory / "balancer.toml"
        config.write_text(config_text(backends, settings, algorithm))
        super().__init__(directory, config, within=within)
        until(lambda: self.eligible() == len(backends), "every backend eligible")


def members_text(backends):
    """Backends as the configuration has them."""
    return "".join(f'[[pool.backend]]\nname = "{b.name}"\naddress = "{b.address}"\n' for b in backends)


def config_text(backends, settings, algorithm):
    """Short intervals, so that a test need not wait long for a health check; bodies of any length."""
    pool = members_text(backends)
    return f"""\
[listen]
traffic = "127.0.0.1:0"
admin = "127.0.0.1:0"
[limits]
body_bytes = "0"
[health]
interval = "500ms"
edge_interval = "100ms"
{settings}
[pool]
algorithm = "{algorithm}"
{pool}"""


def get(url):
    """Status and text, also of refusals."""
    return fetch(urllib.request.Request(url))


def post(url, body):
    code, text = fetch(urllib.request.Request(url, data=body, method="POST"))
    assert code < 300, f"POST {url}: {code} {text}"


def fetch(request):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode()


def interrupt_on_termination():
    """Makes SIGTERM what Ctrl-C is, so that `stop_all` is still reached."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def stop_all():
    """Ends whatever an interrupted test left running, politely, since a demo has children of its own."""
    for process in reversed(Process.started):
        process.stop()
