"""What every test begins with: a directory of its own, three backends, and one balancer before them."""

import shutil
import unittest

import rig

BACKENDS = ("backend1", "backend2", "backend3")


class Case(unittest.TestCase):
    """Starts everything anew for each test, so that counts are exact and no test inherits another's trouble."""

    algorithm = "adaptive"
    settings = ""
    backend_flags = ()

    def setUp(self):
        self.directory = rig.WORK / self.id()
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        self.backends = {name: self.started(rig.Backend(self.directory, name, 0, *self.backend_flags)) for name in BACKENDS}
        self.balancer = self.started(
            rig.Balancer(self.directory, self.backends.values(), self.settings, self.algorithm)
        )

    def started(self, process):
        """Has `process` stopped at the end, whatever happens."""
        self.addCleanup(process.stop)
        return process

    def url(self, path="/home"):
        return self.balancer.traffic + path

    def assert_counted(self, requests, left=0):
        """The balancer counts as many answers, picks and attempts as the clients sent requests.

        `left` is how many more the clients may have left behind unanswered. Returns the picks by backend.
        """
        metrics = self.balancer.metrics()
        answers = metrics.sum("lb_requests_total")
        picks = metrics.by("lb_decisions_total", "backend")
        self.assertGreaterEqual(answers, requests)
        self.assertLessEqual(answers, requests + left)
        self.assertEqual(sum(picks.values()), answers, picks)
        # An attempt that the client left before its response head came is not among these.
        attempts = metrics.by("lb_upstream_requests_total", "backend")
        self.assertEqual(attempts.keys(), picks.keys())
        for backend, count in picks.items():
            self.assertTrue(0 <= count - attempts[backend] <= left, f"{backend}: {attempts} of {picks}")
        return picks
