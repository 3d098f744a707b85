"""The program replaced while it serves: no client is refused or cut, in clear, by TLS or over HTTP/2; what cannot serve does not get to, and sockets that
somebody else holds (a service manager) outlast every process.
"""

import fcntl
import json
import os
import re
import signal
import socket
import ssl
import stat
import subprocess
import tempfile
import time
import unittest

import rig
from certificates import Authority
from clients import Traffic, hey, hey_line, report, start

# Requests a second, on kept connections and on one each, by TLS likewise, and over HTTP/2: a thousand together.
KEPT, SINGLE, SECURE_KEPT, SECURE_SINGLE, HTTP2 = 300, 400, 100, 40, 160
SECONDS = 10
# How long who is connected to the old process may go on there.
HANDOVER = "1s"
SETTINGS = f"""
[timeouts]
handover = "{HANDOVER}"
upgrade = "15s"
[control]
registration = true
"""


def runs(pid):
    """Whether a process is there and has not ended; whoever reaps it may be slow."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Upgraded(rig.Serving):
    """A balancer under a name of its own, which can be given to another program; `pid` is who serves."""

    def __init__(self, directory, config, **env):
        self.program = directory / "load-balancer"
        self.program.unlink(missing_ok=True)
        self.program.symlink_to(rig.PROGRAMS / "load-balancer")
        rig.Process.__init__(self, directory / "balancer", self.program, "serve", "--config", config, **env)
        match = self.said(r"listening traffic=(\S+) admin=(\S+)(?: tls=(\S+))?", self.err)
        self.traffic, self.admin, self.secure = f"http://{match[1]}", f"http://{match[2]}", f"https://{match[3]}"
        self.pid = self.popen.pid

    def ask(self):
        os.kill(self.pid, signal.SIGUSR2)

    def count(self, pattern):
        return len(re.findall(pattern, self.err.read_text(errors="replace")))

    def upgrade(self):
        """Has the program take its own place; returns the process that served before."""
        before, old = self.count("handed over"), self.pid
        self.ask()
        rig.until(lambda: self.count("handed over") > before, "the hand-over")
        self.pid = int(re.findall(r"process=(\d+)", self.err.read_text())[-1])
        return old

    def fails(self):
        """Asks for an upgrade that fails, and returns why it says it did."""
        before = len(self.failures())
        self.ask()
        return rig.until(lambda: len(found := self.failures()) > before and found, "a failed upgrade")[-1]

    def failures(self):
        return [fact["reason"] for fact in self.facts() if fact["kind"] == "upgrade_failed"]

    def stop(self):
        if self.pid != self.popen.pid and runs(self.pid):
            os.kill(self.pid, signal.SIGTERM)
            rig.until(lambda: not runs(self.pid), "its end", rig.STOP_WITHIN)
        super().stop()


class Case(unittest.TestCase):
    def setUp(self):
        self.directory = rig.directory(self.id())
        self.config = self.directory / "balancer.toml"

    def started(self, process):
        self.addCleanup(process.stop)
        return process

    def backends(self, count):
        return [self.started(rig.Backend(self.directory, f"backend{n}")) for n in range(1, count + 1)]

    def serving(self, text, eligible, **env):
        self.config.write_text(text)
        balancer = self.started(Upgraded(self.directory, self.config, **env))
        rig.until(lambda: balancer.eligible() == eligible, "every backend eligible")
        return balancer

    def certified(self):
        """An authority, and what `[tls]` says so that it vouches for the balancer."""
        authority = Authority(self.directory)
        chain, key = authority.issue("balancer", "127.0.0.1")
        return authority, f'[[tls.certificate]]\nchain = "{chain}"\nkey = "{key}"\n'

    def load(self, url, rate, seconds, workers, *flags):
        """hey at this rate. It takes the host for the name to ask for (SNI), which an address with a port cannot be."""
        return start(hey_line(url + "/home", "-z", f"{seconds}s", "-c", workers, "-q", rate // workers, "-host", "balancer.test", *flags))

    def under_load(self, balancer, trust, act):
        """Nobody is refused or cut while `act` runs, at a thousand requests a second of every kind."""
        begun = time.monotonic()
        loads = {
            "on connections of their own": (SINGLE, self.load(balancer.traffic, SINGLE, SECONDS, 20, "-disable-keepalive")),
            "the same by TLS": (SECURE_SINGLE, self.load(balancer.secure, SECURE_SINGLE, SECONDS, 4, "-disable-keepalive")),
            "over HTTP/2": (HTTP2, self.load(balancer.secure, HTTP2, SECONDS, 8, "-h2")),
        }
        with Traffic(balancer.traffic, KEPT) as kept, Traffic(balancer.secure, SECURE_KEPT, 8, trust) as secure:
            act()
            rig.until(lambda: time.monotonic() > begun + SECONDS, "the end of the load", SECONDS + 5)
        took, tallies = time.monotonic() - begun, {kind: (rate, hey(report(load))) for kind, (rate, load) in loads.items()}
        told = ", ".join(f"{tally.good} {kind}" for kind, (_, tally) in tallies.items())
        print(f"    {told}, {kept.good} on kept connections, {secure.good} by TLS in {took:.1f} s;"
              f" failed: {[tally.bad for _, tally in tallies.values()]}, {len(kept.failed)}, {len(secure.failed)};"
              f" the slowest took {max(kept.slowest[0], secure.slowest[0]) * 1e3:.0f} ms")
        for kind, (rate, tally) in tallies.items():
            self.assertEqual(tally.bad, 0, f"{kind}: {tally.text[-2000:]}")
            self.assertGreater(tally.good, 0.5 * rate * SECONDS, f"{kind}: the load went on throughout")
        self.assertEqual((kept.failed, secure.failed), ([], []))
        self.assertGreater(kept.good + secure.good, 0.6 * (KEPT + SECURE_KEPT) * SECONDS, "the load went on throughout")


class Upgrade(Case):
    def test_two_upgrades_in_a_row_lose_nothing(self):
        backends = self.backends(3)
        authority, certificate = self.certified()
        balancer = self.serving(rig.config_text(backends, SETTINGS + certificate, "adaptive"), 3, BALLAST_LISTEN__TLS="127.0.0.1:0")
        late = self.started(rig.Backend(self.directory, "late"))
        code, text = rig.fetch(rig.urllib.request.Request(
            balancer.admin + "/server_up", data=json.dumps({"url": f"http://{late.address}/"}).encode(), method="POST"))
        self.assertEqual((code, text), (200, "ok"))
        members, seen = balancer.replicas(), []

        def twice():
            for _ in range(2):
                old = balancer.upgrade()
                seen.append(old)
                rig.until(lambda: not runs(old), "the end of the old process", rig.STOP_WITHIN)
                self.assertEqual(balancer.eligible(), 4)

        self.under_load(balancer, ssl.create_default_context(cafile=authority.file), twice)
        self.assertEqual(len({*seen, balancer.pid}), 3, "three processes, one after the other")
        self.assertEqual(balancer.replicas(), members, "who registered before is still there")
        self.assertEqual(balancer.popen.wait(rig.STOP_WITHIN), 0)
        self.assertGreater(balancer.metrics().sum("lb_requests_total"), 0)
        spoken = balancer.metrics().by("lb_downstream_protocol_connections_total", "protocol")
        self.assertGreater(spoken["http2"], 0, "it, too, was spoken with over HTTP/2")

    def test_replicas_of_its_own_are_started_beside_the_old_ones(self):
        """They are children, and end with their parent: the new process has its own by the time it serves."""
        names = "".join(f'[[pool.backend]]\nname = "S{n}"\n' for n in (1, 2))
        settings = SETTINGS + '[replicas]\nprovider = "process"\n[replicas.process]\n' \
            f'program = "{rig.PROGRAMS / "backend"}"\n'
        balancer = self.serving(rig.config_text([], settings, "round_robin") + names, 2)
        first = balancer.processes()
        with Traffic(balancer.traffic, KEPT) as kept:
            old = balancer.upgrade()
            rig.until(lambda: not runs(old), "the end of the old process", rig.STOP_WITHIN)
            good = kept.good
            rig.until(lambda: kept.good > good + KEPT, "a second more of traffic")
        self.assertEqual(kept.failed, [])
        self.assertEqual(balancer.replicas(), ["S1", "S2"])
        rig.until(lambda: not any(map(runs, first.values())), "the end of the old replicas")
        second = {rig.flags(pid).get("--name"): pid for pid in rig.children(balancer.pid)}
        self.assertEqual((sorted(second), set(second.values()) & set(first.values())), (["S1", "S2"], set()))

    def test_what_cannot_serve_does_not_get_to(self):
        backends = self.backends(1)
        good = rig.config_text(backends, SETTINGS.replace('"15s"', '"2s"'), "adaptive")
        balancer = self.serving(good, 1)
        own = balancer.program

        def program(text):
            own.unlink()
            own.write_text(text)
            own.chmod(own.stat().st_mode | stat.S_IXUSR)

        def mended():
            own.unlink()
            own.symlink_to(rig.PROGRAMS / "load-balancer")

        with Traffic(balancer.traffic, 100, 4) as kept:
            program("#!/bin/sh\nexit 3\n")
            self.assertIn("exit status: 3", balancer.fails())
            program("no program at all")
            self.assertRegex(balancer.fails(), "cannot be started: Exec format error|it ended with")
            program("#!/bin/sh\nexec sleep 600\n")
            self.assertIn("not ready within 2 s (timeouts.upgrade)", balancer.fails())
            mended()
            self.config.write_text(good.replace('"adaptive"', '"fastest"'))
            self.assertIn("pool.algorithm", balancer.fails())
            self.config.write_text(good.replace('traffic = "127.0.0.1:0"', f'traffic = "127.0.0.1:{rig.free_port()}"'))
            self.assertIn("listen.traffic", balancer.fails())
            self.assertEqual(rig.children(balancer.pid), [], "nobody is left behind")
            self.config.write_text(good)
        self.assertEqual(kept.failed, [])
        # The old one takes this file over, too, and nobody serves; what matters is that the new one does not come to.
        self.config.write_text(good.replace(backends[0].address, f"127.0.0.1:{rig.free_port()}"))
        self.assertIn("no backend was eligible", balancer.fails())
        self.config.write_text(good)
        rig.until(lambda: balancer.eligible() == 1, "the backend is back")
        # Nothing is held still any more.
        self.assertEqual(balancer.control("/rm", n=1, hostnames=["nobody"])[0], 400)
        balancer.upgrade()
        self.assertEqual(balancer.eligible(), 1)


class Manager:
    """What a service manager does: it holds the sockets, starts the program with them, and hears what it says."""

    def __init__(self, directory, names=("traffic", "load-balancer.socket")):
        # Not below the test's directory: the name of a Unix socket has 107 bytes at most.
        self.folder = tempfile.TemporaryDirectory(prefix="ballast-")
        self.names = names
        self.sockets = [socket.create_server(("127.0.0.1", 0)) for _ in names]
        self.ports = [s.getsockname()[1] for s in self.sockets]
        self.path = f"{self.folder.name}/notify"
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(self.path)
        self.notify.settimeout(rig.START_WITHIN)
        self.directory = directory

    def start(self, config, log):
        """By bash, which alone can give descriptors numbers and know the process id before the program does."""
        high = [fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, 40) for s in self.sockets]
        given = " ".join(f"{number}<&{fd} {fd}<&-" for number, fd in enumerate(high, 3))
        script = f'exec {given}; LISTEN_PID=$$ exec "$@"'
        argv = ["setpriv", "--pdeathsig", "KILL", "bash", "-c", script, "bash",
                rig.PROGRAMS / "load-balancer", "serve", "--config", config]
        env = {**rig.environment(), "LISTEN_FDS": str(len(high)), "LISTEN_FDNAMES": ":".join(self.names),
               "NOTIFY_SOCKET": self.path}
        with (self.directory / f"{log}.err").open("ab") as err:
            process = subprocess.Popen(list(map(str, argv)), stdin=subprocess.DEVNULL, stderr=err, env=env, pass_fds=high)
        for fd in high:
            os.close(fd)
        return process

    def hears(self):
        return self.notify.recv(4096).decode().split("\n")

    def close(self):
        for s in (*self.sockets, self.notify):
            s.close()
        self.folder.cleanup()


class Activated(Case):
    def ended(self, process):
        if process.poll() is None:
            process.terminate()
            process.wait(rig.STOP_WITHIN)

    def test_a_restart_refuses_nobody_where_somebody_holds_the_sockets(self):
        backends = self.backends(1)
        manager = Manager(self.directory, ("traffic", "load-balancer.socket", "tls"))
        self.addCleanup(manager.close)
        traffic, admin, secure = manager.ports
        text = rig.config_text(backends, SETTINGS + self.certified()[1], "adaptive")
        text = text.replace('traffic = "127.0.0.1:0"', f'traffic = "127.0.0.1:{traffic}"\ntls = "127.0.0.1:{secure}"')
        self.config.write_text("workers = 3\n" + text.replace('admin = "127.0.0.1:0"', f'admin = "127.0.0.1:{admin}"'))
        # Whoever comes before the program waits, and is served.
        early = socket.create_connection(("127.0.0.1", traffic), timeout=rig.START_WITHIN)
        early.sendall(b"GET /home HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        with early:
            first = manager.start(self.config, "first")
            self.addCleanup(self.ended, first)
            self.assertIn("READY=1", manager.hears())
            self.assertTrue(early.makefile("rb").readline().startswith(b"HTTP/1.1 200"))
        url = f"http://127.0.0.1:{traffic}"
        with Traffic(url, 200, 8) as kept:
            rig.until(lambda: kept.good > 100, "traffic")
        self.assertEqual(kept.failed, [])
        # Stopped and started again under connections of their own, and one of HTTP/2: they wait, and none is refused.
        loads = [self.load(url, 100, 6, 5, "-disable-keepalive"), self.load(f"https://127.0.0.1:{secure}", 40, 6, 4, "-disable-keepalive"),
                 self.load(f"https://127.0.0.1:{secure}", 80, 6, 4, "-h2")]
        first.terminate()
        self.assertIn("STOPPING=1", manager.hears())
        self.assertEqual(first.wait(rig.STOP_WITHIN), 0)
        second = manager.start(self.config, "second")
        self.addCleanup(self.ended, second)
        self.assertIn("READY=1", manager.hears())
        for load in loads:
            tally = hey(report(load))
            self.assertEqual(tally.bad, 0, tally.text[-2000:])
            self.assertGreater(tally.good, 50)
        # And it is told who serves after an upgrade.
        second.send_signal(signal.SIGUSR2)
        said = manager.hears()
        third = int(next(line for line in said if line.startswith("MAINPID=")).removeprefix("MAINPID="))
        self.addCleanup(lambda: runs(third) and os.kill(third, signal.SIGTERM))
        self.assertEqual((second.wait(rig.STOP_WITHIN), runs(third)), (0, True))
        self.assertEqual(rig.get(url + "/home")[0], 200)
        os.kill(third, signal.SIGTERM)
        self.assertIn("STOPPING=1", manager.hears())
        rig.until(lambda: not runs(third), "the end of the third", rig.STOP_WITHIN)

    def test_sockets_that_do_not_fit_are_refused(self):
        backends = self.backends(1)
        manager = Manager(self.directory)
        self.addCleanup(manager.close)
        self.config.write_text(rig.config_text(backends, "", "adaptive").replace('traffic = "127.0.0.1:0"', 'traffic = "127.0.0.2:0"'))
        process = manager.start(self.config, "odd")
        self.assertEqual(process.wait(rig.START_WITHIN), 1)
        said = (self.directory / "odd.err").read_text()
        self.assertIn("listen.traffic", said)
        self.assertIn(f"127.0.0.1:{manager.ports[0]}", said)
