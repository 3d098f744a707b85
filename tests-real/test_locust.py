"""locustfile.py, by Locust itself: against the balancer headless, with its UI and distributed; and what its /metrics says.

Numbers are held against the balancer's own counts: whatever Locust says it sent, the balancer has answered.
"""

import importlib.util
import json
import os
import re
import sys
import types
import unittest
import urllib.parse
import urllib.request

import exposition
import rig
from case import Case
from clients import run
from test_curl import ALGORITHMS

FILE = rig.ROOT / "locustfile.py"
ROUTES = ("/", "/home", "/bench", "/is_prime/{n}", "/request")
# Locust's start, a run of seconds and its end, on a machine with other work.
WITHIN = 60


def checked(text):
    """The samples of an exposition that promtool has nothing to say about."""
    said = run(["promtool", "check", "metrics"], input=text.encode())
    assert not said, said
    return exposition.parse(text)


class Locust(rig.Process):
    """`locust` with our file; `settings` are LOCUST_… by their name's rest."""

    def __init__(self, directory, host, *arguments, log="locust", **settings):
        self.port = rig.free_port()
        arguments = ("-f", FILE, "--host", host, "--web-host", "127.0.0.1", "--web-port", self.port, *arguments)
        env = {f"LOCUST_{name}": str(value) for name, value in settings.items()}
        super().__init__(directory / log, sys.executable, "-m", "locust", *arguments, **env)

    def ui(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def post(self, path, **form):
        """What the UI answers to a form; `form` may have lists."""
        body = urllib.parse.urlencode(form, doseq=True).encode()
        code, text = rig.fetch(urllib.request.Request(self.ui(path), data=body, method="POST"))
        assert code == 200, text
        return text

    def do(self, path):
        """Follows one of the UI's links; from Locust 2.47 on they are forms."""
        code, text = rig.get(self.ui(path))
        assert code == 200, text

    def swarm(self, **form):
        answer = json.loads(self.post("/swarm", **form))
        assert answer["success"], answer

    def answers(self):
        """Waits until the UI does."""
        self.said(r"Starting web interface", self.err)

        def answered():
            try:
                return rig.get(self.ui("/"))[0] == 200
            except OSError:
                return False
        rig.until(answered, "an answer of Locust's UI", WITHIN)
        return self

    def own_port(self):
        """/metrics without the UI."""
        return self.said(r"metrics at (\S+)", self.err)[1]


def samples(url):
    code, text = rig.get(url)
    assert code == 200, text
    return checked(text)


def count(metrics, name="locust_requests_total", **labels):
    """A sum that is 0 where nothing has been counted yet."""
    return sum(value for found, of, value in metrics.samples if found == name and labels.items() <= of.items())


class Load(Case):
    """Locust before the balancer; each user sends five requests a second."""

    settings = '[client]\ntrusted_proxies = ["127.0.0.1/32"]'

    def locust(self, *arguments, log="locust", **settings):
        return self.started(Locust(self.directory, self.balancer.traffic, *arguments, log=log, **{"RATE": 5, **settings}))

    def headless(self, *arguments, code=0, **settings):
        """A run to its end; what it counted, by name."""
        out = self.directory / "stats"
        process = self.locust("--headless", "-s", "5", "--only-summary", "--json-file", out, *arguments, **settings)
        self.assertEqual(process.wait(WITHIN), code, process.err.read_text())
        return {entry["name"]: entry for entry in json.loads(out.with_suffix(".json").read_text())}

    def assert_agreed(self, entries):
        """The balancer counted what Locust did, for each algorithm."""
        sent = {}
        for name, entry in entries.items():
            algorithm = re.match(r"\[(\w+)\] GET /", name)[1]
            sent[algorithm] = sent.get(algorithm, 0) + entry["num_requests"]
        self.assertEqual(self.balancer.metrics().by("lb_requests_total", "algorithm"), sent)
        return sent


class Headless(Load):
    def test_every_algorithm_without_a_failure(self):
        process = self.locust("--headless", "-u", 50, "-r", 50, "-t", "7s", "-s", 5, "--json-file",
                              self.directory / "stats", METRICS_PORT=0)
        port = process.own_port()
        rig.until(lambda: count(samples(port)) > 500, "requests in the metrics")
        metrics = samples(port)
        self.assertEqual(process.wait(WITHIN), 0, process.err.read_text())
        entries = {entry["name"]: entry for entry in json.loads((self.directory / "stats.json").read_text())}
        self.assertEqual(entries.keys(), {f"[{a}] GET {route}" for a in ALGORITHMS for route in ROUTES})
        self.assertEqual([entry for entry in entries.values() if entry["num_failures"]], [])
        sent = self.assert_agreed(entries)
        self.assert_counted(sum(sent.values()))
        # 50 users, 5 a second each, less than a second of beginning: an open loop keeps its rate. A machine that is busy
        # with other tests may take some of it; users that waited for each other would not reach half.
        self.assertAlmostEqual(sum(sent.values()), 50 * 5 * 7, delta=0.3 * 50 * 5 * 7)

        self.assertEqual(metrics.by("locust_state", "state"), {"running": 1})
        self.assertEqual(set(metrics.by("locust_users", "user_class").values()), {5})
        self.assertEqual(metrics.by("locust_workers", "state"), {})
        self.assertEqual(set(metrics.by("locust_requests_total", "algorithm")), set(ALGORITHMS))
        self.assertLessEqual(set(metrics.by("locust_requests_total", "name")), set(ROUTES))
        self.assertEqual(count(metrics, "locust_failures_total"), 0)
        self.assertEqual(count(metrics, "locust_response_time_seconds_count"), count(metrics))

    def test_some_algorithms_and_routes(self):
        entries = self.headless("-u", 8, "-r", 8, "-t", "3s", "--exclude-tags", "root",
                                ALGORITHMS="random,min_eta", ROUTES="/@1,/echo?a=1@2")
        self.assertEqual(entries.keys(), {"[random] GET /echo", "[min_eta] GET /echo"})
        self.assert_agreed(entries)

    def test_tags_leave_one_algorithm(self):
        entries = self.headless("-u", 6, "-r", 6, "-t", "2s", "-T", "adaptive")
        self.assertEqual(self.assert_agreed(entries).keys(), {"adaptive"})

    def test_users_come_from_regions(self):
        """ip_hash sends one address to one backend, and those of a whole network to all."""
        self.headless("-u", 10, "-r", 10, "-t", "2s", ALGORITHMS="ip_hash")
        self.assertEqual(len(self.balancer.metrics().by("lb_decisions_total", "backend")), 1)
        self.headless("-u", 40, "-r", 40, "-t", "2s", ALGORITHMS="ip_hash", REGIONS="EU,US@2,HOME=198.51.100.0/24")
        self.assertEqual(len(self.balancer.metrics().by("lb_decisions_total", "backend")), 3)

    def test_failures_are_said_in_words(self):
        for backend in self.backends.values():
            backend.kill()
        rig.until(lambda: self.balancer.eligible() == 0, "no backend eligible")
        process = self.locust("--headless", "-u", 4, "-r", 4, "-t", "30s", "-s", 5, ALGORITHMS="adaptive,ip_hash", METRICS_PORT=0)
        port = process.own_port()
        rig.until(lambda: count(samples(port), "locust_failures_total") > 20, "failures in the metrics")
        metrics = samples(port)
        self.assertEqual(metrics.by("locust_errors_total", "error").keys(), {"503 No backend available, Retry-After 1"})
        self.assertEqual(count(metrics, "locust_failures_total"), count(metrics))
        self.assertEqual(count(metrics, "locust_errors_total"), count(metrics))
        self.balancer.kill()
        rig.until(lambda: "no answer: Connection refused" in samples(port).by("locust_errors_total", "error"), "refusals")
        process.stop()
        self.assertEqual(process.wait(), 1, "a run with failures has failed")

    def test_what_comes_late_is_a_failure(self):
        process = self.locust("--headless", "-u", 4, "-r", 4, "-t", "3s", "-s", 5, "--only-summary", "--exit-code-on-error", 7,
                              ROUTES="/bench500", TIMEOUT=0.2, ALGORITHMS="adaptive")
        self.assertEqual(process.wait(WITHIN), 7)
        self.assertIn("GET [adaptive] GET /bench500: no answer within 0.2 s", process.err.read_text())

    def test_a_shape_on_demand(self):
        self.headless("-u", 10, "-r", 1, "-t", "10s", SHAPE="steps", ALGORITHMS="adaptive")
        said = (self.directory / "locust.err").read_text()
        self.assertEqual(re.findall(r"Shape test updating to (\d+) users", said), ["2", "4", "6", "8", "10"])

    def test_settings_that_make_no_sense(self):
        for setting, told in (
            ({"ALGORITHMS": "fastest"}, "there is no 'fastest'"),
            ({"ROUTES": "home"}, "must begin with /"),
            ({"ROUTES": "/@0"}, "whole number"),
            ({"RATE": "0"}, "LOCUST_RATE must be a number above 0"),
            ({"REGIONS": "MOON"}, "no network is known for 'MOON'"),
            ({"SHAPE": "round"}, "there is no 'round'"),
            ({"TAGS": "nothing"}, "no task has the tags"),
            ({"METRICS_PORT": self.balancer.traffic.rpartition(":")[2]}, "Address already in use"),
        ):
            with self.subTest(setting):
                process = self.locust("--headless", "-t", "30s", log="wrong", **setting)
                self.assertEqual(process.wait(WITHIN), 1)
                self.assertIn(told, process.err.read_text())
        self.assertEqual(count(self.balancer.metrics(), "lb_requests_total"), 0)


class Idle(Load):
    settings = '[timeouts]\nclient_idle = "300ms"'

    def test_a_connection_that_was_closed_between_requests_is_no_failure(self):
        entries = self.headless("-u", 20, "-r", 20, "-t", "6s", RATE=1, ALGORITHMS="adaptive,random")
        self.assertEqual([entry for entry in entries.values() if entry["num_failures"]], [])
        self.assertGreater(sum(self.assert_agreed(entries).values()), 60)


class Ui(Load):
    def test_swarm_stop_reset_and_again(self):
        ui = self.locust().answers()
        self.assertIn("Locust", rig.get(ui.ui("/"))[1])
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(ui.ui("/metrics"), timeout=10) as answer:
            self.assertEqual(answer.headers.get_all("Content-Type"), ["text/plain; version=0.0.4; charset=utf-8"])
            idle = checked(answer.read().decode())
        self.assertEqual(idle.by("locust_state", "state"), {"ready": 1})
        self.assertEqual((len(idle.of("locust_users")), count(idle)), (len(ALGORITHMS), 0))

        ui.swarm(user_count=20, spawn_rate=20)
        rig.until(lambda: count(samples(ui.ui("/metrics"))) > 100, "requests in the metrics")
        running = samples(ui.ui("/metrics"))
        self.assertEqual(running.by("locust_state", "state"), {"running": 1})
        self.assertEqual(running.sum("locust_users"), 20)
        ui.do("/stop")
        stopped = samples(ui.ui("/metrics"))
        self.assertEqual(stopped.by("locust_state", "state"), {"stopped": 1})
        self.assertEqual(stopped.sum("locust_users"), 0)
        self.assertGreaterEqual(count(stopped), count(running))
        self.assertEqual(count(stopped, "locust_failures_total"), 0)

        ui.do("/stats/reset")
        reset = samples(ui.ui("/metrics"))
        self.assertEqual((count(reset), count(reset, "locust_response_time_seconds_count")), (0, 0))
        ui.swarm(user_count=10, spawn_rate=10)
        rig.until(lambda: count(samples(ui.ui("/metrics"))) > 10, "requests after the reset")

    def test_the_class_picker(self):
        ui = self.locust("--class-picker", "-s", 5).answers()
        ui.swarm(user_count=6, spawn_rate=6, user_classes=["AdaptiveUser", "MinEtaUser"])
        rig.until(lambda: count(samples(ui.ui("/metrics"))) > 20, "requests in the metrics")
        self.assertEqual(samples(ui.ui("/metrics")).by("locust_users", "user_class"), {"AdaptiveUser": 3, "MinEtaUser": 3})


class Distributed(Load):
    def test_a_master_has_what_its_workers_sent(self):
        port = rig.free_port()
        master = self.locust("--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port, "-s", 5)
        workers = [
            self.locust("--worker", "--master-host", "127.0.0.1", "--master-port", port, "-s", 5, log=f"worker{n}", METRICS_PORT=0)
            for n in (1, 2)
        ]
        metrics = lambda: samples(master.answers().ui("/metrics"))
        rig.until(lambda: metrics().by("locust_workers", "state") == {"ready": 2}, "two workers", WITHIN)
        master.swarm(user_count=20, spawn_rate=20)
        rig.until(lambda: count(metrics()) > 200, "requests in the metrics")
        running = metrics()
        self.assertEqual(running.by("locust_workers", "state"), {"running": 2})
        self.assertEqual((running.by("locust_state", "state"), running.sum("locust_users")), ({"running": 1}, 20))
        told = json.loads(rig.get(master.ui("/stats/requests"))[1])["workers"]
        self.assertEqual([worker["user_count"] for worker in told], [10, 10])
        master.do("/stop")
        rig.until(lambda: metrics().by("locust_state", "state") == {"stopped": 1}, "the end")
        sent = metrics().by("locust_requests_total", "algorithm")
        self.assertEqual(sent.keys(), set(ALGORITHMS))
        rig.until(lambda: metrics().by("locust_requests_total", "algorithm") == self.answered(), "the same count at both")
        self.assertEqual(count(metrics(), "locust_failures_total"), 0)
        for worker in workers:
            self.assertNotIn("metrics at", worker.err.read_text(), "only the master tells")
            self.assertNotIn(worker.port, rig.listening([worker.port]))

    def answered(self):
        return self.balancer.metrics().by("lb_requests_total", "algorithm")

    def test_processes(self):
        entries = self.headless("--processes", 2, "-u", 10, "-r", 10, "-t", "5s")
        self.assertEqual(sum(entry["num_failures"] for entry in entries.values()), 0)
        self.assertGreater(sum(self.assert_agreed(entries).values()), 100)


class Own(unittest.TestCase):
    """The file's own functions, without a run."""

    @classmethod
    def setUpClass(cls):
        # Locust would make this process's sockets and threads gevent's.
        os.environ["LOCUST_SKIP_MONKEY_PATCH"] = "1"
        cls.addClassCleanup(os.environ.pop, "LOCUST_SKIP_MONKEY_PATCH")
        spec = importlib.util.spec_from_file_location("locustfile", FILE)
        cls.file = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(cls.file)


class Metrics(Own):
    """The exposition, from Locust's own statistics."""

    def setUp(self):
        from locust.stats import RequestStats
        self.stats = RequestStats()

    def text(self):
        runner = types.SimpleNamespace(state="ready", user_classes_count={})
        return self.file.exposition(types.SimpleNamespace(runner=runner, stats=self.stats, user_classes=[]))

    def samples(self):
        return checked(self.text())

    def error(self, text):
        from locust.exception import CatchResponseError
        return CatchResponseError(text)

    def test_no_requests(self):
        found = {name for name, _, _ in self.samples().samples}
        self.assertEqual(found, {"locust_state", "locust_workers"})

    def test_names_without_an_algorithm(self):
        self.stats.log_request("GET", "/plain", 3, 0)
        self.stats.log_request(None, None, 3, 0)
        labels = [labels for labels, _ in self.samples().of("locust_requests_total")]
        self.assertEqual(labels, [{"method": "GET", "name": "/plain", "algorithm": ""}, {"method": "", "name": "", "algorithm": ""}])

    def test_names_are_escaped(self):
        self.stats.log_request("GET", '[random] GET /a"b\\c\nd', 3, 0)
        checked(self.text())
        self.assertIn(r'locust_requests_total{method="GET",name="/a\"b\\c\nd",algorithm="random"} 1' + "\n", self.text())

    def test_names_that_become_the_same_are_added_up(self):
        for name, count_ in (("[random] GET /a", 2), ("[random] /a", 3)):
            for _ in range(count_):
                self.stats.log_request("GET", name, 3, 0)
        metrics = self.samples()
        self.assertEqual([value for _, value in metrics.of("locust_requests_total")], [5])
        self.assertEqual([value for _, value in metrics.of("locust_response_time_seconds_count")], [5])

    def test_the_histogram(self):
        times = [0.2, 0.8, 1, 1.4, 2.4, 2.6, 5, 5.4, 7, 26, 99, 104, 147, 149, 155, 2490, 10_400, 45_000]
        for time in times:
            self.stats.log_request("GET", "[random] GET /", time, 0)
        metrics = self.samples()
        buckets = [(float(labels["le"]), value) for labels, value in metrics.of("locust_response_time_seconds_bucket")]
        self.assertEqual([bound for bound, _ in buckets], sorted(bound for bound, _ in buckets))
        self.assertEqual([value for _, value in buckets], sorted(value for _, value in buckets))
        # As Locust keeps them: 0, 1, 1, 1, 2, 3, 5, 5, 7, 26, 99, 100, 150, 150, 160, 2500, 10000, 45000.
        self.assertEqual([value for _, value in buckets], [4, 5, 8, 9, 9, 10, 10, 12, 14, 15, 15, 15, 15, 15, 16, 16, 17, 18])
        self.assertEqual(metrics.sum("locust_response_time_seconds_count"), len(times))
        self.assertAlmostEqual(metrics.sum("locust_response_time_seconds_sum"), sum(times) / 1000)

    def test_requests_without_a_time_are_in_no_bucket(self):
        self.stats.log_request("GET", "[random] GET /", None, 0)
        self.stats.log_request("GET", "[random] GET /", 12, 0)
        self.stats.get("[random] GET /", "GET").response_times[None] = 3
        metrics = self.samples()
        self.assertEqual(count(metrics), 2)
        self.assertEqual(count(metrics, "locust_response_time_seconds_count"), 1)
        self.assertEqual(count(metrics, "locust_response_time_seconds_bucket", le="+Inf"), 1)

    def test_an_error_reads_the_same_from_here_and_from_a_worker(self):
        for algorithm in ("random", "adaptive"):
            error = self.error("503 it's \"over\"")
            self.stats.log_error("GET", f"[{algorithm}] GET /", error)
            self.stats.log_error("GET", f"[{algorithm}] GET /", repr(error))
        self.stats.log_error("GET", "[random] GET /", ConnectionError("gone"))
        text = self.text()
        checked(text)
        self.assertIn(r'locust_errors_total{method="GET",name="/",error="503 it' + r"'s \"over\"" + '"} 4\n', text)
        self.assertIn("""locust_errors_total{method="GET",name="/",error="ConnectionError('gone')"} 1\n""", text)

    def test_errors_beyond_a_hundred_are_others(self):
        for number in range(130):
            for _ in range(2 if number < 100 else 1):
                self.stats.log_error("GET", "[random] GET /", self.error(f"text {number}"))
        errors = self.samples().by("locust_errors_total", "error")
        self.assertEqual((len(errors), errors["other"], sum(errors.values())), (101, 30, 230))

    def test_an_error_that_overtakes_moves_no_counter(self):
        """A counter that goes down is taken for a restart: what was counted under `other` stays there."""
        for number in range(130):
            self.stats.log_error("GET", "[random] GET /", self.error(f"text {number}"))
        before = self.samples().by("locust_errors_total", "error")
        for _ in range(50):
            self.stats.log_error("GET", "[random] GET /", self.error("text 129"))
        after = self.samples().by("locust_errors_total", "error")
        self.assertEqual(after, before | {"other": before["other"] + 50})


class Faults(Own):
    """What is said about an answer."""

    def fault(self, status, body="", error=None, **headers):
        meta = {"exception": error}
        return self.file.fault(types.SimpleNamespace(status_code=status, text=body, headers=headers, error=error, request_meta=meta))

    def test_by_kind(self):
        self.assertIsNone(self.fault(200))
        self.assertIsNone(self.fault(304))
        self.assertEqual(self.fault(200, error=OSError("half")), "200, but the answer broke off: OSError")
        self.assertEqual(self.fault(503, '{"error":"No backend available","request_id":"7f"}', **{"Retry-After": "2"}),
                         "503 No backend available, Retry-After 2")
        self.assertEqual(self.fault(500, "<html>"), "500")
        self.assertEqual(self.fault(500, "[]"), "500")
        self.assertEqual(self.fault(400, json.dumps({"error": "long " * 100})), "400 " + "long " * 15 + "long")
        self.assertEqual(self.fault(0, error=ConnectionResetError(104, "Connection reset by peer")), "no answer: Connection reset by peer")
        self.assertEqual(self.fault(0, error=ValueError("7f3a")), "no answer: ValueError")
        self.assertEqual(self.fault(0, error=types.SimpleNamespace(original=TimeoutError())), "no answer within 10 s")


if __name__ == "__main__":
    unittest.main()
