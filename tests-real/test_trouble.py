"""Crashes and stops: a backend that dies under load costs no client anything, and SIGTERM cuts nobody off."""

import signal
import subprocess

import clients
import rig
from case import Case
from clients import curl_line, report, start

CONNECTIONS = 64
VICTIM = "backend2"
# Traffic is back at its share within this many seconds of the cure.
RETURN_WITHIN = 15


class Crash(Case):
    """`kill -9` of one of three backends while a client sends GETs as fast as it can."""

    def crash_under(self, client, tally_of):
        """Kills the victim while `client` runs, and checks that nobody noticed, and that it comes back."""
        self.addCleanup(client.kill)
        self.picked_more_than(1_000)
        self.backends[VICTIM].kill()
        rig.until(lambda: self.balancer.eligible() == 2, "the dead backend taken out")
        self.assertIsNone(client.poll(), "the load ended before the crash was noticed: it proves nothing")
        tally = tally_of(report(client))
        self.assertEqual(tally.bad, 0, f"{self.algorithm}: {tally.text}{self.reasons()}")
        self.assertGreater(tally.good, 1_000)
        self.comes_back()

    def comes_back(self):
        self.started(self.backends[VICTIM].restart())
        rig.until(lambda: self.balancer.eligible() == 3, "the backend back in")
        rig.until(self.has_its_share, "the backend back at half of its share or more", within=RETURN_WITHIN)

    def has_its_share(self):
        """Whether the victim gets at least half of a third of a little load, none of which may fail."""
        requests, before = 300, self.picks()
        tally = clients.hey(clients.run(clients.hey_line(self.url("/bench10"), "-n", requests, "-c", 10)).decode())
        self.assertEqual((tally.good, tally.bad), (requests, 0), tally.text)
        return self.picks() - before >= requests / 3 / 2

    def picks(self):
        return self.balancer.metrics().sum("lb_decisions_total", backend=VICTIM)

    def picked_more_than(self, count):
        rig.until(lambda: self.picks() > count, f"{VICTIM} under load")

    def reasons(self):
        metrics = self.balancer.metrics()
        return "".join(
            f"\n{name} by {label}: {metrics.by(name, label)}"
            for name, label in (
                ("lb_requests_total", "code"), ("lb_request_aborts_total", "reason"), ("lb_retries_total", "reason"),
                ("lb_retries_total", "outcome"), ("lb_upstream_requests_total", "code"),
            )
            if any(found == name for found, _, _ in metrics.samples)
        )

    def wrk(self):
        self.crash_under(start(clients.wrk_line(self.url(), 4, CONNECTIONS)), clients.wrk)

    def hey(self):
        self.crash_under(start(clients.hey_line(self.url(), "-z", "4s", "-c", CONNECTIONS)), clients.hey)


class CrashRoundRobin(Crash):
    algorithm = "round_robin"

    def test_under_wrk(self):
        self.wrk()

    def test_under_hey(self):
        self.hey()


class CrashAdaptive(Crash):
    algorithm = "adaptive"

    def test_under_wrk(self):
        self.wrk()

    def test_under_hey(self):
        self.hey()


class Stop(Case):
    backend_flags = ("--fault",)

    def slow_request(self):
        """A request that takes three seconds, under way."""
        for backend in self.backends.values():
            backend.fault(latency_ms=3_000)
        client = start(curl_line("-w", " %{http_code}", self.url()))
        self.addCleanup(client.kill)
        rig.until(lambda: self.balancer.metrics().sum("lb_upstream_requests_in_flight") == 1, "the slow request under way")
        return client

    def stop_during_a_slow_request(self, number):
        client = self.slow_request()
        self.balancer.signal(number)
        rig.until(self.refuses, "new connections refused while draining", within=2)
        self.assertIsNone(client.poll(), "the request under way ended too soon")
        self.assertRegex(report(client), r"Hello from Server: backend\d.* 200$")
        self.assertEqual(self.balancer.wait(), 0)

    def refuses(self):
        """Whether a new connection for traffic is refused: curl's exit code 7."""
        return subprocess.run(curl_line("-o", "/dev/null", self.url()), capture_output=True, check=False).returncode == 7

    def test_sigterm_lets_a_slow_request_finish(self):
        self.stop_during_a_slow_request(signal.SIGTERM)

    def test_ctrl_c_lets_a_slow_request_finish(self):
        self.stop_during_a_slow_request(signal.SIGINT)

    def test_sigterm_at_rest_ends_at_once(self):
        self.balancer.signal(signal.SIGTERM)
        self.assertEqual(self.balancer.wait(5), 0)

    def test_sigterm_does_not_wait_for_idle_clients(self):
        # Two requests, 30 s apart by curl's own rate limit: the connection idles in between.
        client = start(curl_line("--rate", "2/m", "-o", "/dev/null", self.url(), "-o", "/dev/null", self.url()))
        self.addCleanup(client.kill)
        self.addCleanup(client.stdout.close)
        rig.until(lambda: self.balancer.metrics().sum("lb_request_duration_seconds_count") == 1, "the first request answered")
        self.assertEqual(self.balancer.metrics().sum("lb_downstream_connections"), 1)
        self.balancer.signal(signal.SIGTERM)
        self.assertEqual(self.balancer.wait(5), 0)

    def test_a_taken_port_is_named(self):
        config = self.directory / "taken.toml"
        admin = self.balancer.admin.removeprefix("http://")
        text = rig.config_text(self.backends.values(), "", "adaptive")
        config.write_text(text.replace('admin = "127.0.0.1:0"', f'admin = "{admin}"'))
        second = self.started(rig.Process(self.directory / "second", rig.PROGRAMS / "load-balancer", "serve", "-c", config))
        self.assertEqual(second.wait(), 1)
        said = second.err.read_text()
        self.assertIn("listen.admin", said)
        self.assertIn(admin, said)
