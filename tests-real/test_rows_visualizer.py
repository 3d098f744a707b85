"""Row F, the flow visualizer: its service behind the balancer, with the times that the charts are drawn from."""

import collections
import json
import time

import clients
from case import Row
from clients import curl

INSTANCES = {"instance1", "instance2", "instance3", "instance4"}


class Visualizer(Row):
    example = "visualizer"
    traffic = "http://127.0.0.1:30000"
    ports = (30000, *range(5001, 5005), 9901)
    backends = 4

    def read(self, answer):
        """The stay in seconds, of an answer in the documented shape, and whose it was."""
        record = json.loads(answer)
        self.assertEqual(sorted(record), ["instance", "req_rcv_time", "resp_snd_time"])
        self.assertIn(record["instance"], INSTANCES)
        self.assertAlmostEqual(record["req_rcv_time"], time.time(), delta=60)
        return record["resp_snd_time"] - record["req_rcv_time"], record["instance"]

    def test_every_documented_line(self):
        stays = {line.rpartition("30000")[2].rstrip("'"): self.read(out)[0] for line, out in self.documented()}
        self.assertEqual(len(stays), 6)
        self.assertGreater(stays["/bench?slow=1"], 0)
        self.assertLess(stays["/bench"], 0.1)
        for path, least in (("/bench10", 0.010), ("/bench50", 0.050), ("/bench500", 0.500)):
            self.assertTrue(least <= stays[path] < least + 0.4, f"{path}: {stays[path]}")

    def test_bad_input(self):
        for query in ("slow=2", "slow=", "slow=yes"):
            code, body = self.curl(f"/bench?{query}")
            self.assertEqual(code, 400, body)
            self.assertIn("slow", json.loads(body)["error"])
        self.assertEqual(self.curl("/bench20")[0], 404)
        self.assertEqual(self.curl("/bench?slow=1&algo=quickest")[0], 400)

    def test_many_at_once_by_every_instance(self):
        for choice in ("", "&algo=round_robin"):
            said = curl("--fail", "--parallel", "--parallel-max", 20, "--no-progress-meter", *[
                f"{self.traffic}/bench?slow=1{choice}&run={run}" for run in range(200)
            ])
            answers = said.replace("}{", "}\n{").splitlines()
            counts = collections.Counter(self.read(answer)[1] for answer in answers)
            self.assertEqual((set(counts), sum(counts.values())), (INSTANCES, 200), counts)
        self.assertEqual(set(counts.values()), {50}, "round robin is even")

    def test_a_load_loses_nothing(self):
        text = clients.run(clients.hey_line(f"{self.traffic}/bench?slow=1", "-n", 2_000, "-c", 40)).decode()
        tally = clients.hey(text)
        self.assertEqual((tally.good, tally.bad), (2_000, 0), text)
        self.assertEqual(self.balancer.metrics().by("lb_requests_total", "algorithm"), {"min_eta": 2_000})
