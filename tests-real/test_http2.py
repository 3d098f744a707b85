"""HTTP/2 as people use it: curl and h2load, without TLS."""

import re

import clients
import rig
from case import Case
from clients import curl

H2C = "--http2-prior-knowledge"


class Http2(Case):
    backend_flags = ("--fault",)

    def test_curl_and_h2load(self):
        said = curl(H2C, "--write-out", " %{http_version} %{http_code}", self.url("/home"))
        self.assertIn("Hello from Server", said)
        self.assertTrue(said.endswith(" 2 200"), said)
        self.assertTrue(curl("--http2", "--write-out", " %{http_version}", self.url("/home")).endswith(" 1.1"), "an upgrade is passed over")
        # A body of a megabyte, up; and several at once over one connection.
        large = self.directory / "large"
        large.write_bytes(bytes(range(256)) * 3_000)
        self.assertIn('"body_bytes":768000', curl(H2C, "--data-binary", f"@{large}", self.url("/echo")))
        many = curl(H2C, "--parallel", "--parallel-immediate", "--output", self.directory / "out_#1", "--write-out", "%{http_code}\n", self.url("/home?[1-50]"))
        self.assertEqual(many.split(), ["200"] * 50)
        head = curl(H2C, "--head", self.url("/home"))
        self.assertRegex(head, r"^HTTP/2 200")
        self.assertNotRegex(head, r"(?i)connection:|transfer-encoding:")
        # The balancer's own words.
        self.assertIn("is no algorithm", curl(H2C, self.url("/home?algo=nonsense")))

        before = self.balancer.metrics().sum("lb_requests_total")
        report = clients.run(["h2load", "-n", 5000, "-c", 10, "-m", 20, "-t", 1, self.url("/home")]).decode()
        totals = re.search(r"requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored", report)
        self.assertEqual(totals.groups(), ("5000", "5000", "0", "0"), report)
        metrics = rig.until(
            lambda: (m := self.balancer.metrics()).sum("lb_requests_total") == before + 5000 and m, "each stream counted once")
        self.assertEqual(metrics.sum("lb_http2_floods_total"), 0)

    def test_a_drain_loses_nothing(self):
        load = clients.start(["h2load", "-n", 200, "-c", 4, "-m", 5, "-t", 1, self.url("/bench50")])
        rig.until(lambda: self.balancer.metrics().sum("lb_requests_in_flight") > 0, "requests under way")
        metrics = self.balancer.metrics()
        self.balancer.signal(15)
        report = clients.report(load)
        # What was begun is answered; what came behind GOAWAY was never begun.
        self.assertRegex(report, r" 0 5xx")
        self.assertEqual(self.balancer.wait(), 0)
        self.assertGreater(metrics.sum("lb_http2_streams"), 0)
