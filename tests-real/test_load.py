"""ab, hey and wrk: nothing fails, and the metrics agree with what the clients say they sent."""

import clients
import rig
from case import Case

REQUESTS = 5_000
CONNECTIONS = 64


class Load(Case):
    algorithm = "round_robin"

    def assert_even(self, picks):
        """Round robin is even, but for each worker's own beginning."""
        self.assertEqual(len(picks), 3)
        share = sum(picks.values()) / 3
        for backend, count in picks.items():
            self.assertAlmostEqual(count, share, delta=0.01 * share, msg=backend)

    def assert_all(self, tally):
        self.assertEqual((tally.good, tally.bad), (REQUESTS, 0), tally.text)
        self.assert_even(self.assert_counted(REQUESTS))

    def test_ab(self):
        self.assert_all(clients.ab(self.url(), REQUESTS))

    def test_ab_keeping_connections(self):
        tally = clients.ab(self.url(), REQUESTS, "-k")
        self.assert_all(tally)
        kept = clients.number(r"Keep-Alive requests:\s+(\d+)", tally.text)
        self.assertGreater(kept, 0.9 * REQUESTS, "HTTP/1.0 clients that ask may keep their connection")

    def test_hey(self):
        self.assert_all(clients.hey(clients.run(clients.hey_line(self.url(), "-n", REQUESTS, "-c", 50)).decode()))

    def test_wrk(self):
        before = {name: backend.answered() for name, backend in self.backends.items()}
        tally = clients.wrk(clients.run(clients.wrk_line(self.url(), 2, CONNECTIONS)).decode())
        self.assertEqual(tally.bad, 0, tally.text)
        self.assertGreater(tally.good, 0)
        # wrk leaves in the middle of its last requests: one on each connection, answered but not counted by it.
        self.settled()
        picks = self.assert_counted(tally.good, left=CONNECTIONS)
        self.assert_even(picks)
        metrics = self.balancer.metrics()
        for name, backend in self.backends.items():
            # The backend also counts health checks, and our own look at its metrics. What wrk abandoned it may not have
            # seen.
            abandoned = metrics.sum("lb_upstream_requests_total", backend=name, code="canceled")
            extra = backend.answered() - before[name] - picks[name]
            self.assertTrue(-abandoned <= extra <= 30, f"{name} answered {extra} requests beyond those picked")

    def settled(self):
        rig.until(lambda: self.balancer.metrics().sum("lb_requests_in_flight") == 0, "no request in flight")


class Spread(Case):
    """Adaptive sends work to all of a pool of equals."""

    def test_every_backend_gets_its_share(self):
        text = clients.run(clients.hey_line(self.url("/bench10"), "-n", REQUESTS, "-c", 50)).decode()
        tally = clients.hey(text)
        self.assertEqual((tally.good, tally.bad), (REQUESTS, 0), text)
        picks = self.assert_counted(REQUESTS)
        self.assertEqual(len(picks), 3)
        for backend, count in picks.items():
            self.assertAlmostEqual(count, REQUESTS / 3, delta=0.25 * REQUESTS / 3, msg=f"{backend} of {picks}")
