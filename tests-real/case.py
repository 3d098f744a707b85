"""What tests begin with: a directory of their own, three backends and one balancer before them, or a row's example."""

import json
import re
import shlex
import subprocess
import unittest

import rig
from clients import WITHIN, curl

BACKENDS = ("backend1", "backend2", "backend3")


class Case(unittest.TestCase):
    """Starts everything anew for each test, so that counts are exact and no test inherits another's trouble."""

    algorithm = "adaptive"
    settings = ""
    backend_flags = ()
    within = ()

    def setUp(self):
        self.directory = rig.directory(self.id())
        self.backends = {name: self.started(rig.Backend(self.directory, name, 0, *self.backend_flags)) for name in BACKENDS}
        self.balancer = self.started(
            rig.Balancer(self.directory, self.backends.values(), self.settings, self.algorithm, self.within)
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


class Row(unittest.TestCase):
    """One of the original systems, as its example file starts it: at its own ports, which must be free."""

    shares = "ports"
    early = True
    example = ""
    traffic = ""
    ports = ()
    backends = 0

    def setUp(self):
        self.assertEqual(rig.listening(self.ports), [], "ports of the example are in use by something else")
        self.directory = rig.directory(self.id())
        self.file = rig.EXAMPLES / f"{self.example}.toml"
        self.head = re.match(r"(#.*\n)*", self.file.read_text())[0]
        self.serve()

    def serve(self):
        """Starts it as its comment says: from the repository, by the example's path."""
        self.assertIn(f"load-balancer serve --config load-balancer/examples/{self.example}.toml\n", self.head)
        self.balancer = rig.Serving(self.directory, self.file)
        self.addCleanup(self.balancer.stop)
        self.assertEqual(self.balancer.traffic, self.traffic)
        self.all_eligible(self.backends)

    def all_eligible(self, count):
        rig.until(lambda: self.balancer.eligible() == count, f"{count} backends eligible")

    def documented(self):
        """Runs every curl line of the example's comment, in its order, in a shell; yields each with what it said."""
        lines = re.findall(r"^#   (curl .*)$", self.head, re.MULTILINE)
        self.assertTrue(lines, "the example says how it is used")
        for line in lines:
            strict = f"curl --disable --noproxy '*' --silent --show-error --fail-with-body --max-time {WITHIN} "
            command = "set -o pipefail; " + line.replace("curl ", strict, 1)
            done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=WITHIN, check=False)
            self.assertEqual(done.returncode, 0, f"{line}\n{done.stdout}{done.stderr}")
            yield line, done.stdout

    def curl(self, target, *arguments):
        """Status and body of what curl got."""
        body, _, code = curl("-w", "\n%{http_code}", *arguments, self.traffic + target).rpartition("\n")
        return int(code), body

    def says(self, code, answer, target, *arguments):
        """curl gets exactly this status and this text, JSON if it is no string."""
        expected = answer if isinstance(answer, str) else json.dumps(answer, separators=(",", ":"))
        self.assertEqual(self.curl(target, *arguments), (code, expected), shlex.join(map(str, (*arguments, target))))

    def refuses(self, pattern, target, *arguments, code=400):
        """curl gets a failure in the originals' shape, with a message like `pattern`."""
        got, body = self.curl(target, *arguments)
        told = shlex.join(map(str, (*arguments, target)))
        self.assertEqual(got, code, f"{told}: {body}")
        answer = json.loads(body)
        self.assertEqual((sorted(answer), answer["status"]), (["message", "status"], "failure"), told)
        self.assertRegex(answer["message"], pattern, told)

    def tearDown(self):
        same = self.balancer.metrics().sum("lb_retries_same_backend_total")
        self.assertEqual(same, 0, "retries went to the backend that had failed")


def members(*names):
    """What /rep, /add and /rm answer."""
    return {"message": {"N": len(names), "replicas": list(names)}, "status": "successful"}
