"""Row P, the prime balancer: servers announce themselves; stopping one costs nobody a request."""

import re
import shlex

import clients
import rig
from case import Row, members

CLIENTS, EACH = 50, 10
SERVERS = {"server1": "127.0.0.1-5001", "server2": "127.0.0.1-5002"}


class Primes(Row):
    example = "primes"
    traffic = "http://127.0.0.1:9000"
    ports = (9000, 5001, 5002, 9901)
    backends = 0

    def setUp(self):
        super().setUp()
        lines = re.findall(r"^#   target/debug/backend (--name (\w+) .*)$", self.head, re.MULTILINE)
        self.lines = {name: shlex.split(line) for line, name in lines}
        self.assertEqual(self.lines.keys(), SERVERS.keys(), "the example says how the servers are started")
        self.servers = {}
        for count, name in enumerate(SERVERS, 1):
            self.start(name)
            rig.until(lambda: len(self.balancer.replicas()) == count, f"{name} registered")
        self.all_eligible(2)

    def start(self, name):
        self.servers[name] = rig.Process(self.directory / name, rig.PROGRAMS / "backend", *self.lines[name])
        self.addCleanup(self.servers[name].stop)

    def picks(self):
        counts = self.balancer.metrics().by("lb_decisions_total", "backend")
        return {name: counts.get(member, 0) for name, member in SERVERS.items()}

    def phase(self, number):
        """50 clients with 10 requests each, all of which succeed; returns the picks of each server."""
        before = self.picks()
        said = clients.run(clients.hey_line(f"{self.traffic}/is_prime/{number}", "-n", CLIENTS * EACH, "-c", CLIENTS))
        tally = clients.hey(said.decode())
        self.assertEqual((tally.good, tally.bad), (CLIENTS * EACH, 0), tally.text)
        return {name: count - before[name] for name, count in self.picks().items()}

    def tried_again(self):
        """Whether both are back. Only a request can show that who failed requests works again."""
        self.says(200, "yes", "/is_prime/7")
        return self.balancer.eligible() == 2

    def test_every_documented_line(self):
        said = [out for _, out in self.documented()]
        rep = '{"message":{"N":2,"replicas":["127.0.0.1-5001","127.0.0.1-5002"]},"status":"successful"}'
        self.assertEqual(said, ["yes", "yes", "yes", "ok", rep])

    def test_numbers_good_and_bad(self):
        for prime in (2, 524287, 6700417, 2**64 - 59):
            self.says(200, "yes", f"/is_prime/{prime}")
        for other in (0, 1, 8, 524287 * 6700417):
            self.says(200, "no", f"/is_prime/{other}")
        for wrong in ("abc", "-7", "+7", "1.5", str(2**64), "%20"):
            code, body = self.curl(f"/is_prime/{wrong}")
            self.assertEqual(code, 400, f"{wrong}: {body}")
        self.assertEqual(self.curl("/is_prime/7?mode=fastest")[0], 400)

    def test_three_phases_lose_nothing(self):
        half = CLIENTS * EACH / 2
        # The last is the original's load, by its own method.
        for number in (524287, 6700417, "524287?mode=naive"):
            both = self.phase(number)
            self.assertEqual(both, {"server1": half, "server2": half}, "two servers share alike")
            self.servers["server1"].stop()
            one = self.phase(number)
            self.assertLess(one["server1"], half, "who is gone is soon left alone")
            self.start("server1")
            rig.until(self.tried_again, "server1 back")
            again = self.phase(number)
            self.assertGreater(again["server1"], half / 2, "who is back gets its share")
        self.says(200, members(*SERVERS.values()), "/rep")

    def test_a_killed_server_costs_nothing_either(self):
        load = clients.start(clients.hey_line(f"{self.traffic}/is_prime/524287", "-z", "3s", "-c", CLIENTS, "-q", 20))
        self.addCleanup(load.kill)
        rig.until(lambda: self.picks()["server2"] > 100, "server2 under load")
        self.servers["server2"].kill()
        rig.until(lambda: self.balancer.eligible() == 1, "server2 taken out")
        tally = clients.hey(clients.report(load))
        self.assertEqual(tally.bad, 0, tally.text)
        self.assertGreater(tally.good, 500)

    def test_registration_is_checked_first(self):
        for url, fault in (
            ("https://127.0.0.1:5001/", "set pool.tls.enabled = true"), ("ftp://127.0.0.1/", "must begin with http://"),
            ("127.0.0.1:5001", "must begin with http://|is no URL"), ("", "is no URL"), ("http://", "is no URL"),
            ("http://127.0.0.1:5001/path", "no more than"), ("http://me@127.0.0.1:5001/", "no more than"),
            ("http://8.8.8.8:5001/", "control.networks"), ("http://169.254.169.254/", "control.networks"),
            ("http://127.0.0.1:9000/", "this balancer itself"), ("http://127.0.0.1:9901/", "this balancer itself"),
            ("http://no-such-host.invalid:5001/", "cannot be looked up"),
        ):
            self.refuses(f"^<Error> url: .*({fault})", "/server_up", "-d", f'{{"url":"{url}"}}')
        for body in ("", "url=http://127.0.0.1:5003/", "[]", '{"address":"http://127.0.0.1:5003/"}', '{"url":5003}', "{}"):
            self.refuses("^<Error> ", "/server_up", "-d", body)
        self.says(200, members(*SERVERS.values()), "/rep")
        # A browser's page must not be able to register anything.
        code, body = self.curl("/server_up", "-H", "Origin: http://example.com", "-d", '{"url":"http://127.0.0.1:5003/"}')
        self.assertEqual(code, 403, body)
        self.assertIn("error", body)

    def test_a_server_is_picked_after_its_first_good_check(self):
        self.says(200, "ok", "/server_up", "-H", "Content-Type: application/json", "-d", '{"url":"http://127.0.0.1:5003"}')
        self.says(200, members(*SERVERS.values(), "127.0.0.1-5003"), "/rep")
        unhealthy = ("unhealthy", "127.0.0.1-5003")
        rig.until(lambda: unhealthy in [(f["kind"], f.get("backend")) for f in self.balancer.facts()], "nobody is there")
        self.assertEqual(self.phase(524287), {"server1": CLIENTS * EACH / 2, "server2": CLIENTS * EACH / 2})
        backend = self.directory / "third"
        third = rig.Process(backend, rig.PROGRAMS / "backend", "--name", "third", "--port", 5003)
        self.addCleanup(third.stop)
        self.all_eligible(3)

    def test_rm_takes_a_server_out_and_add_needs_a_provider(self):
        self.says(200, members("127.0.0.1-5002"), "/rm", "-X", "DELETE", "-d", '{"n":1,"hostnames":["127.0.0.1-5001"]}')
        self.refuses("this pool has no provider", "/add", "-d", '{"n":1}', code=409)
        self.says(200, "ok", "/server_up", "-d", '{"url":"http://127.0.0.1:5001/"}')
        self.says(200, members("127.0.0.1-5002", "127.0.0.1-5001"), "/rep")
