"""The compose file itself, brought up by `make start` on a real daemon; all services but those that nothing stands in for.

Everything is built and started once, for the whole class; a test leaves things as it found them, and the last one, by its
name, takes all of it down.
"""

import json
import re
import subprocess
import sys
import time
import unittest
from pathlib import Path

import exposition
import made
import rig
import stack

# From the start of the containers; Prometheus' first scrape of all jobs comes within its interval of 15 s.
HEALTHY_WITHIN = 180
SCRAPED_WITHIN = 60
SLOW_MS = 4000
HOST = "http://127.0.0.1"
# A client of Redis without one: what comes in by standard input goes out, and the first line that comes back is said.
PING = """
import socket, sys
with socket.create_connection(("127.0.0.1", 6379), 5) as redis:
    redis.sendall(sys.stdin.buffer.read())
    print(redis.makefile("rb").readline().decode(), end="")
"""


class ComposeFile(made.Images, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = rig.directory(f"{cls.__module__}.{cls.__qualname__}")
        cls.stack = stack.Stack(cls.directory)
        cls.addClassCleanup(cls.stack.stop)
        cls.wanted = sorted(set(stack.declared(cls.stack.root)["services"]) - set(stack.ABSENT))
        begun = time.monotonic()
        cls.said = cls.stack.make("start", f"SERVICES={' '.join(cls.wanted)}", within=stack.START_WITHIN)
        print(f"make start: {time.monotonic() - begun:.0f} s", flush=True)
        rig.until(lambda: not cls.stack.unhealthy(), "every service healthy", HEALTHY_WITHIN)
        print(f"all healthy: {time.monotonic() - begun:.0f} s", flush=True)

    def metrics(self):
        code, text = self.stack.curl(f"{HOST}:9901/metrics")
        self.assertEqual(code, 200)
        return exposition.parse(text)

    def test_every_service_runs(self):
        self.assertEqual(sorted(self.stack.containers()), self.wanted)
        self.assertIn("http://127.0.0.1:5000", self.said)

    def test_the_published_ports_answer(self):
        answers = {
            ":5000/home": '"Hello from Server: backend[1-6]"',
            ":5000/?algo=round_robin": "algorithm round_robin",
            ":9901/ready": "^ready: 6",
            ":9090/-/ready": "Ready",
            ":9100/metrics": "^node_cpu_seconds_total",
            ":8089/": "Locust",
            ":8089/metrics": "^locust_state",
        }
        answers |= {f":{5000 + n}/home": f'"Hello from Server: backend{n}"' for n in range(1, 7)}
        for target, pattern in answers.items():
            code, body = self.stack.curl(HOST + target)
            self.assertEqual(code, 200, target)
            self.assertRegex(body, re.compile(pattern, re.MULTILINE), target)
        self.assertEqual(self.stack.curl(f"{HOST}:8086/ping")[0], 204)

    def test_backends_are_where_the_configuration_says(self):
        info = {labels["backend"]: labels for name, labels, _ in self.metrics().samples if name == "lb_backend_info"}
        self.assertEqual(sorted(info), [f"backend{n}" for n in range(1, 7)])
        for name, labels in info.items():
            _, body = self.stack.curl(f"{HOST}:{5000 + int(name[-1])}/")
            self.assertIn(f"from {name}, region {labels['region']}", body)

    def test_redis_wants_its_password(self):
        def says(*commands):
            lines = "".join(f"{command}\r\n" for command in commands).encode()
            python = self.stack.daemon.inside(sys.executable, "-c", PING)
            return subprocess.run(python, input=lines, capture_output=True, timeout=30, check=True).stdout.decode().strip()
        self.assertIn("NOAUTH", says("PING"))
        self.assertEqual(says(f"AUTH {self.stack.secrets()['REDIS_PASSWORD']}"), "+OK")

    def test_the_balancer_shares_by_redis(self):
        rig.until(lambda: self.metrics().sum("lb_state_store_up") == 1, "a round with Redis", SCRAPED_WITHIN)
        self.assertEqual(self.metrics().sum("lb_balancers_live"), 1)

    def test_prometheus_scrapes_everything(self):
        expected = {"load-balancer": 1, "backends": 6, "node_exporter": 1, "locust": 1, "prometheus": 1}
        def up():
            targets = self.stack.json(f"{HOST}:9090/api/v1/targets?state=active")["data"]["activeTargets"]
            good = [target["labels"]["job"] for target in targets if target["health"] == "up"]
            return {job: good.count(job) for job in set(good)} == expected or None
        rig.until(up, f"targets up: {expected}", SCRAPED_WITHIN)
        groups = self.stack.json(f"{HOST}:9090/api/v1/rules")["data"]["groups"]
        self.assertTrue(groups)
        ill = [rule for group in groups for rule in group["rules"] if rule["health"] == "err"]
        self.assertEqual(ill, [])

    def test_influxdb_takes_what_prometheus_writes(self):
        def query(text):
            return self.stack.json(f"{HOST}:8086/query", "--get", "--data", "db=prometheus", "--data-urlencode", f"q={text}")
        databases = query("SHOW DATABASES")["results"][0]["series"][0]["values"]
        self.assertIn(["prometheus"], databases)
        policy = query("SHOW RETENTION POLICIES ON prometheus")["results"][0]["series"][0]
        kept = [dict(zip(policy["columns"], values)) for values in policy["values"]]
        self.assertEqual([(one["duration"], one["default"]) for one in kept], [("168h0m0s", True)])
        rig.until(
            lambda: query("SELECT last(value) FROM lb_build_info")["results"][0].get("series"),
            "a sample of lb_build_info in InfluxDB", SCRAPED_WITHIN,
        )  # fmt: skip

    def test_locust_drives_all_regions(self):
        form = ("--data", "user_count=20&spawn_rate=20")
        self.assertTrue(self.stack.json(f"{HOST}:8089/swarm", *form)["success"])
        self.addCleanup(self.stack.curl, f"{HOST}:8089/stop")
        def regions():
            counted = [labels for name, labels, value in self.metrics().samples if name == "lb_geo_requests_total" and value]
            return {labels["client_region"] for labels in counted}
        rig.until(lambda: {"APAC", "EU", "US"} <= regions(), "requests of clients of every region", SCRAPED_WITHIN)

    def test_containers_are_as_closed_as_declared(self):
        for name, one in self.stack.containers().items():
            config = one["HostConfig"]
            self.assertTrue(config["ReadonlyRootfs"], name)
            self.assertFalse(config["Privileged"], name)
            self.assertEqual(config["CapDrop"], ["ALL"], name)
            self.assertIn("no-new-privileges:true", config["SecurityOpt"], name)
            self.assertGreater(min(config["Memory"], config["PidsLimit"]), 0, name)
            self.assertEqual(config["NanoCpus"] > 0, name != "load-balancer", name)
            status = Path(f"/proc/{one['State']['Pid']}/status").read_text()
            status = dict(re.findall(r"^(\w+):\s+(.*)$", status, re.MULTILINE))
            uids = set(status["Uid"].split())
            self.assertNotIn("0", uids, f"{name} runs as root")
            self.assertEqual(int(status["CapEff"], 16), 0, name)
            if name == "load-balancer" or name.startswith("backend"):
                self.assertEqual((uids, one["Config"]["User"]), ({"65532"}, "65532:65532"), name)

    def test_only_the_balancer_is_open_to_other_machines(self):
        open_to_all = set()
        for name, one in self.stack.containers().items():
            for published in one["NetworkSettings"]["Ports"].values():
                for port in published or []:
                    if port["HostIp"] != "127.0.0.1":
                        open_to_all.add((name, port["HostPort"]))
        self.assertEqual(open_to_all, {("load-balancer", "5000")})

    def test_changes_want_the_token(self):
        more_than_there_are = ("--request", "DELETE", "--data", '{"n":100}')
        for port in (5000, 9901):
            code, _ = self.stack.curl(f"{HOST}:{port}/rm", *more_than_there_are)
            self.assertIn(code, (401, 403), port)
            bearer = ("--header", f"Authorization: Bearer {self.stack.secrets()['BALLAST_TOKEN']}")
            code, body = self.stack.curl(f"{HOST}:{port}/rm", *more_than_there_are, *bearer)
            self.assertEqual(code, 400, body)

    def test_secrets_are_drawn_once(self):
        file = self.stack.root / ".env"
        self.assertEqual(file.stat().st_mode & 0o777, 0o600)
        secrets = self.stack.secrets()
        drawn = [secrets[key] for key in ("GRAFANA_PASSWORD", "BALLAST_TOKEN", "REDIS_PASSWORD")]
        self.assertEqual(len(set(drawn)), 3)
        for secret in drawn:
            self.assertRegex(secret, "^[0-9a-f]{32}$")
            self.assertNotIn(secret, self.said)
        before = {name: one["Id"] for name, one in self.stack.containers().items()}
        self.stack.make("start", f"SERVICES={' '.join(self.wanted)}", within=stack.START_WITHIN)
        self.assertEqual(self.stack.secrets(), secrets)
        # Nothing changed, hence nothing is built or started anew.
        self.assertEqual({name: one["Id"] for name, one in self.stack.containers().items()}, before)
        self.assertRegex(self.stack.make("status", within=stack.STOP_WITHIN), r"backend6(.|\n)*\.env")

    def test_stopping_ends_what_is_in_flight(self):
        self.addCleanup(self.start_balancer)
        for n in range(1, 7):
            self.addCleanup(self.delay, n, 0)
            code, body = self.delay(n, SLOW_MS)
            self.assertLess(code, 300, body)
        slow = ["curl", "--silent", "--show-error", "--max-time", "30", "--write-out", "\n%{http_code}", f"{HOST}:5000/home"]
        with subprocess.Popen(self.stack.daemon.inside(*slow), stdout=subprocess.PIPE, text=True) as client:
            rig.until(lambda: self.metrics().sum("lb_requests_in_flight") >= 1, "the slow request in flight")
            begun = time.monotonic()
            self.stack.compose("stop", "load-balancer")
            took = time.monotonic() - begun
            body, _, code = client.communicate(timeout=30)[0].rpartition("\n")
        self.assertEqual(code, "200", body)
        self.assertIn("Hello from Server", body)
        self.assertLess(took, 30, "it waits for the request, not for the end of its patience")
        self.assertEqual(self.stack.containers()["load-balancer"]["State"]["ExitCode"], 0)

    def delay(self, n, milliseconds):
        return self.stack.curl(f"{HOST}:{5000 + n}/fault", "--data", json.dumps({"latency_ms": milliseconds}))

    def start_balancer(self):
        self.stack.compose("up", "--detach", "--no-build", "load-balancer")
        rig.until(lambda: not self.stack.unhealthy(), "every service healthy again", HEALTHY_WITHIN)

    def test_zz_stop_leaves_nothing_but_the_data(self):
        self.stack.make("stop", within=stack.STOP_WITHIN)
        self.assertEqual(self.stack.daemon.containers(), [])
        networks = {network["Name"] for network in json.loads(self.stack.daemon.ask("GET", "/networks"))}
        self.assertEqual(networks, {"bridge", "host", "none"})
        volumes = json.loads(self.stack.daemon.ask("GET", "/volumes"))["Volumes"]
        self.assertIn("ballast_prometheus-data", {volume["Name"] for volume in volumes})
