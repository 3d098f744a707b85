"""curl as people use it: versions of HTTP, kept connections, HEAD, and the choice of an algorithm."""

import json

import rig
from case import Case
from clients import curl

ALGORITHMS = (
    "adaptive", "consistent_hash", "ip_hash", "least_connections", "least_response_time", "min_eta", "power_of_two",
    "random", "round_robin", "weighted_round_robin",
)
HELLO = "Hello from Server: backend"


class Versions(Case):
    def test_http_1_0(self):
        self.assertIn(HELLO, curl("--http1.0", "--fail", self.url()))
        self.assert_counted(1)

    def test_http_1_0_gets_a_chunked_answer_without_chunks(self):
        out = curl("--http1.0", "--fail", "-w", "%{http_version}", self.url("/trailers"))
        # curl writes 1.0 as 1.
        self.assertEqual(out, "first\nsecond\nthird\n1")

    def test_http_1_1_keeps_the_connection_for_several_urls(self):
        out = curl("--fail", "-w", "\n%{http_version} %{num_connects}\n", *[self.url()] * 5)
        self.assertEqual(out.count(HELLO), 5)
        self.assertEqual(out.splitlines()[1::2], ["1.1 1"] + ["1.1 0"] * 4)
        self.assert_counted(5)
        self.assertEqual(self.balancer.metrics().sum("lb_downstream_connections_accepted_total"), 1)

    def test_head_has_the_length_of_get_and_no_body(self):
        length = len(curl(self.url()))
        head = curl("--head", "--fail", "-w", "%{size_download}", self.url())
        self.assertIn(f"content-length: {length}\r\n", head.lower())
        self.assertTrue(head.endswith("\r\n\r\n0"), head)
        # The connection is usable after HEAD: no body is waited for.
        self.assertIn("200 0", curl("--head", "-w", "%{http_code} %{num_connects}\n", self.url(), self.url()))

    def test_expect_100_continue_is_answered_at_once(self):
        body = self.directory / "body"
        body.write_bytes(b"x" * 100_000)
        # Without the interim answer, curl would wait out its patience: longer than --max-time allows.
        trace = self.directory / "curl.err"
        out = curl(
            "-v", "--stderr", trace, "--expect100-timeout", 50, "--max-time", 10,
            "-H", "Expect: 100-continue", "--data-binary", f"@{body}", self.url("/echo"),
        )
        self.assertIn("HTTP/1.1 100 Continue", trace.read_text())
        self.assertEqual(json.loads(out)["body_bytes"], 100_000)


class Choice(Case):
    def test_every_algorithm_by_name_and_alias(self):
        for name in (*ALGORITHMS, "power_of_two_choices"):
            counted = name.removesuffix("_choices")
            self.assertIn(f"algorithm {counted}\n", curl("--fail", self.url(f"/?algo={name}")))
            self.assertIn(f"algorithm {counted}\n", curl("--fail", "-H", f"x-lb-algo: {name}", self.url("/")))
        twice = {name: 4 if name == "power_of_two" else 2 for name in ALGORITHMS}
        self.assertEqual(self.balancer.metrics().by("lb_decisions_total", "algorithm"), twice)
        self.assertEqual(self.balancer.metrics().by("lb_requests_total", "algorithm"), twice)
        self.assert_counted(sum(twice.values()))

    def test_the_backend_sees_no_trace_of_the_choice(self):
        seen = json.loads(curl("-H", "x-lb-algo: random", self.url("/echo/a?x=1&algo=ip_hash&y=%20")))
        self.assertEqual((seen["path"], seen["query"]), ("/echo/a", "x=1&y=%20"))
        self.assertNotIn("x-lb-algo", seen["headers"])

    def test_an_unknown_algorithm_is_refused_with_the_names_that_are_known(self):
        code, text = rig.get(self.url("/?algo=fastest"))
        self.assertEqual(code, 400)
        for name in ALGORITHMS:
            self.assertIn(name, text)

    def test_without_a_choice_the_pool_decides(self):
        self.assertIn("algorithm adaptive\n", curl("--fail", self.url("/")))
