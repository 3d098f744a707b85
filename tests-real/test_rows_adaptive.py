"""Row G, the adaptive balancer: every algorithm by its name, weights and regions."""

import collections
import re

import rig
from case import Row
from clients import curl
from test_curl import ALGORITHMS

WEIGHTS = {"backend1": 2, "backend2": 3, "backend3": 1, "backend4": 3, "backend5": 4, "backend6": 2}
REGIONS = {"backend1": "APAC", "backend2": "EU", "backend3": "US", "backend4": "APAC", "backend5": "EU", "backend6": "US"}


class Adaptive(Row):
    example = "adaptive"
    traffic = "http://127.0.0.1:5000"
    ports = (5000, *range(5001, 5007), 9901)
    backends = 6

    def test_every_documented_line(self):
        said = list(self.documented())
        algorithms = []
        for line, out in said[:-2]:
            greeting = re.fullmatch(r"Hello from (backend\d), region (\w+), algorithm (\w+)\n", out)
            self.assertTrue(greeting, f"{line}: {out}")
            self.assertEqual(greeting[2], REGIONS[greeting[1]])
            algorithms.append(greeting[3])
        self.assertEqual(set(algorithms), set(ALGORITHMS))
        self.assertEqual((algorithms[0], algorithms[-1]), ("adaptive", "round_robin"), "the default, and the header")
        self.assertIn("# TYPE lb_requests_total counter", said[-2][1])
        self.assertEqual(said[-1][1], "OK")

    def test_an_unknown_algorithm_is_refused(self):
        for target, arguments in (("/?algo=fastest", ()), ("/?algo=", ()), ("/", ("-H", "x-lb-algo: fastest"))):
            code, body = self.curl(target, *arguments)
            self.assertEqual(code, 400, body)
            for name in ALGORITHMS:
                self.assertIn(name, body)

    def test_weights_hold_to_the_request(self):
        rounds = 20
        names = self.names("weighted_round_robin", rounds * sum(WEIGHTS.values()))
        self.assertEqual(names, {name: weight * rounds for name, weight in WEIGHTS.items()})
        self.assertEqual(set(self.names("round_robin", 60).values()), {10})

    def test_backends_are_where_they_are_documented(self):
        for number, (name, region) in enumerate(REGIONS.items(), 1):
            self.assertEqual(curl(f"http://127.0.0.1:500{number}/"), f"Hello from {name}, region {region}, algorithm -\n")
        for path, answer in (
            ("/health_check", "ok"), ("/health", '{"status":"healthy"}'), ("/heartbeat", ""),
            ("/home", '{"message":"Hello from Server: backend3","status":"successful"}'),
        ):
            self.assertEqual(curl("--fail", f"http://127.0.0.1:5003{path}"), answer)

    def test_an_unhealthy_backend_costs_nothing(self):
        backend = "http://127.0.0.1:5003"
        self.assertEqual(curl("-X", "POST", "-w", "%{http_code}", f"{backend}/unhealthy"), "Unhealthy201")
        self.assertEqual(curl("-w", "%{http_code}", f"{backend}/"), "Unhealthy503")
        self.assertNotIn("backend3", self.names("round_robin", 300))
        self.assertEqual(curl("-X", "POST", "-w", "%{http_code}", f"{backend}/healthy"), "Healthy201")
        rig.until(lambda: "backend3" in self.names("round_robin", 6), "backend3 back")

    def names(self, algorithm, count):
        """Who answers `count` requests, each of which succeeds."""
        said = curl("--fail", f"{self.traffic}/?algo={algorithm}&run=[1-{count}]")
        names = re.findall(r"Hello from (\w+),", said)
        self.assertEqual(len(names), count)
        return collections.Counter(names)
