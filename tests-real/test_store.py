"""Three balancers over one real Redis: one order of turns, one membership, votes, shared scrapes; and a Redis that fails in
every way while requests go on.

The failures are held against the same load on a balancer without a store, on the same machine, in the same seconds.
"""

import json
import signal
import time
import unittest

import clients
import rig
from redis_server import Babbler, Proxy, Redis

BALANCERS = 3
BACKENDS = 6
REQUESTS = 10_000
# Of the turns: two pieces a balancer and one (lb_core::turns), and one for each that drew alone.
BOUND = 2 * BALANCERS + 1
SEEN_WITHIN = 2.0
# The store forgets who says nothing for ten seconds.
FORGOTTEN_WITHIN = 15.0
# p99 with a failing Redis over that of a balancer without any in the same seconds, and milliseconds of chance.
P99_MOST, P99_SLACK = 1.10, 10.0


def config(store, backends, more="", checks=True):
    pool = rig.members_text(backends)
    return f"""\
[listen]
traffic = "127.0.0.1:0"
admin = "127.0.0.1:0"
[store]
url = "{store}"
[health]
enabled = {str(checks).lower()}
interval = "500ms"
edge_interval = "100ms"
[algo]
choosers = "anyone"
{more}
[pool]
algorithm = "round_robin"
slow_start = "0"
{pool}"""


class Fleet(unittest.TestCase):
    settings = ""
    checks = True
    backend_flags = ("--fault",)

    def setUp(self):
        self.directory = rig.directory(self.id())
        self.redis = self.started(Redis(self.directory))
        names = [f"backend{n}" for n in range(1, BACKENDS + 1)]
        self.backends = [self.started(rig.Backend(self.directory, name, 0, *self.backend_flags)) for name in names]

    def started(self, process):
        self.addCleanup(process.stop)
        return process

    def balancer(self, name, port=None, more=None):
        """One over the common backends, at the Redis or at what stands before it."""
        file = self.directory / f"{name}.toml"
        more = self.settings if more is None else more
        file.write_text(config(f"redis://127.0.0.1:{port or self.redis.port}", self.backends, more, self.checks))
        balancer = self.started(rig.Serving(self.directory, file, name))
        rig.until(lambda: balancer.eligible() >= BACKENDS, f"every backend eligible at {name}")
        return balancer

    def fleet(self, ports=(None,) * BALANCERS, more=None):
        fleet = [self.balancer(f"balancer{n}", port, more) for n, port in enumerate(ports, 1)]
        self.all_meet(fleet)
        return fleet

    def all_meet(self, fleet, within=rig.START_WITHIN):
        for balancer in fleet:
            live = lambda: balancer.metrics().sum("lb_balancers_live") == len(fleet)
            rig.until(live, f"{len(fleet)} balancers live at {balancer.admin}", within)


def rounds(balancer):
    return balancer.metrics().sum("lb_state_store_operations_total", result="ok")


def pass_rounds(fleet, count):
    """Waits until each has met the others so many times more."""
    for balancer, before in [(balancer, rounds(balancer)) for balancer in fleet]:
        rig.until(lambda: rounds(balancer) >= before + count, f"{count} more rounds")


def facts(balancer, kind):
    return [fact for fact in balancer.facts() if fact["kind"] == kind]


class Together(Fleet):
    def test_one_order_over_three(self):
        fleet = self.fleet()
        loads = [clients.start(clients.hey_line(f"{b.traffic}/home", "-n", str(REQUESTS), "-c", "20")) for b in fleet]
        for load in loads:
            tally = clients.hey(clients.report(load))
            self.assertEqual((tally.good, tally.bad), (REQUESTS, 0), tally.text)
        shares, alone = {}, 0
        for balancer in fleet:
            metrics = balancer.metrics()
            for name, count in metrics.by("lb_decisions_total", "backend").items():
                shares[name] = shares.get(name, 0) + count
            alone += metrics.sum("lb_turns_local_total") > 0
        spread = max(shares.values()) - min(shares.values())
        print(f"    shares {sorted(shares.values())}: max - min {spread:g}, bound {BOUND + alone}, drew alone: {alone}")
        self.assertEqual(sum(shares.values()), BALANCERS * REQUESTS)
        self.assertLessEqual(spread, BOUND + alone, shares)

    def test_removed_at_one_is_drained_at_all_and_comes_back(self):
        fleet = self.fleet()
        for endpoint, count in (("/rm", BACKENDS - 1), ("/add", BACKENDS)):
            begun = time.monotonic()
            code, said = fleet[0].control(endpoint, n=1, hostnames=["backend2"])
            self.assertEqual(code, 200, said)
            for balancer in fleet[1:]:
                rig.until(lambda: len(balancer.replicas()) == count, f"{endpoint} seen by {balancer.admin}", SEEN_WITHIN)
            print(f"    {endpoint} seen by all after {time.monotonic() - begun:.2f} s")

    def test_registered_at_one_is_known_to_all(self):
        fleet = self.fleet(more="[control]\nregistration = true\n")
        extra = self.started(rig.Backend(self.directory, "extra"))
        rig.post(f"{fleet[1].admin}/server_up", json.dumps({"url": f"http://{extra.address}"}).encode())
        for balancer in fleet:
            rig.until(lambda: len(balancer.replicas()) == BACKENDS + 1, "the newcomer at all", SEEN_WITHIN)
        late = self.balancer("balancer4", more="[control]\nregistration = true\n")
        rig.until(lambda: len(late.replicas()) == BACKENDS + 1, "the newcomer at a new balancer", SEEN_WITHIN)

    def test_one_vote_does_not_spread_and_two_do(self):
        # A fault fails checks, too, and these speak for themselves.
        self.checks = False
        fleet = self.fleet(more='[ejection]\nbase = "20s"\n[retry]\nattempts = 0\n')
        bad = self.backends[0]
        bad.fault(error_rate=1.0)
        ejected = lambda balancer: facts(balancer, "ejected")

        def convict(balancer):
            def ask():
                for _ in range(BACKENDS):
                    rig.get(f"{balancer.traffic}/home")
                return ejected(balancer)
            return rig.until(ask, "five failures in a row eject")

        convict(fleet[0])
        pass_rounds(fleet, 3)
        self.assertEqual([len(ejected(balancer)) for balancer in fleet], [1, 0, 0])
        convict(fleet[1])
        followed = rig.until(lambda: ejected(fleet[2]), "the third follows two votes", 5)
        self.assertEqual((followed[0]["backend"], followed[0]["reason"]), (bad.name, "voted"))
        self.assertEqual(fleet[2].metrics().by("lb_requests_total", "code"), {}, "it has seen nothing itself")


class Scrapes(Fleet):
    settings = '[signals]\nsource = "metrics"\ninterval = "500ms"\ntimeout = "400ms"\n'

    def test_each_backend_is_scraped_by_two_of_three(self):
        fleet = self.fleet()
        pass_rounds(fleet, 2)
        before = scraped(fleet)
        pass_rounds(fleet, 4)
        after = scraped(fleet)
        for backend in self.backends:
            counts = [late.get(backend.name, 0) - early.get(backend.name, 0) for early, late in zip(before, after)]
            self.assertEqual(sum(count > 0 for count in counts), 2, f"{backend.name}: {counts}")
        for balancer in fleet:
            for backend in self.backends:
                age = balancer.metrics().sum("lb_scrape_age_seconds", backend=backend.name)
                self.assertLess(age, 3, f"{backend.name} at {balancer.admin}")
        # Who is gone leaves its share to the others.
        fleet[0].stop()
        self.all_meet(fleet[1:], within=FORGOTTEN_WITHIN)
        before = scraped(fleet[1:])
        pass_rounds(fleet[1:], 3)
        after = scraped(fleet[1:])
        for early, late in zip(before, after):
            self.assertTrue(all(late[b.name] > early.get(b.name, 0) for b in self.backends), f"{early} {late}")


def scraped(fleet):
    return [b.metrics().by("lb_scrapes_total", "backend", result="ok") for b in fleet]


class Trouble(Fleet):
    def setUp(self):
        super().setUp()
        # Beside every balancer under test: what is slow at both is the machine.
        file = self.directory / "beside.toml"
        text = config("", self.backends)
        file.write_text(text)
        self.beside = self.started(rig.Serving(self.directory, file, "beside"))

    def measured(self, balancer, seconds, during=lambda: None):
        """p99 in milliseconds under a load during which something happens, there and beside; no request may fail."""
        flags = ("-z", f"{seconds}s", "-c", "4", "-q", "50", "-t", "5")
        before = self.answered(balancer)
        loads = [clients.start(clients.hey_line(f"{b.traffic}/home", *flags)) for b in (balancer, self.beside)]
        rig.until(lambda: self.answered(balancer) > before + 100, "the load is under way")
        during()
        p99 = []
        for load in loads:
            text = clients.report(load)
            tally = clients.hey(text)
            self.assertEqual(tally.bad, 0, text)
            self.assertGreater(tally.good, 50 * seconds, text)
            p99.append(float(clients.re.search(r"99% in ([\d.]+) secs", text)[1]) * 1000)
        return p99

    @staticmethod
    def answered(balancer):
        return sum(balancer.metrics().by("lb_requests_total", "code").values())

    @staticmethod
    def up(balancer):
        return balancer.metrics().sum("lb_state_store_up")

    def goes_on(self, balancer, hurt, heal=None, result=None):
        """While Redis is hurt nothing fails and nothing waits; the loss is told once, and so is the return."""
        told = len(facts(balancer, "store_lost"))

        def trouble():
            hurt()
            rig.until(lambda: self.up(balancer) == 0, "the loss is seen", 10)

        hurting, beside = self.measured(balancer, 10, trouble)
        print(f"    p99 {hurting:.1f} ms while Redis fails, {beside:.1f} ms beside without any")
        self.assertLessEqual(hurting, beside * P99_MOST + P99_SLACK)
        self.assertEqual(len(facts(balancer, "store_lost")), told + 1)
        if result:
            self.assertGreater(balancer.metrics().sum("lb_state_store_operations_total", result=result), 0)
        if heal:
            self.measured(balancer, 8, heal)
            rig.until(lambda: self.up(balancer) == 1, "the return is seen", 15)

    def test_absent_at_the_start(self):
        port = rig.free_port()
        balancer = self.balancer("balancer", port)
        self.assertEqual(self.up(balancer), 0)
        self.measured(balancer, 5)
        self.assertEqual(len(facts(balancer, "store_lost")), 1)
        self.started(Redis(self.directory, port))
        rig.until(lambda: self.up(balancer) == 1, "it finds the Redis that came later", 15)

    def test_killed_and_started_again_empty(self):
        fleet = self.fleet()
        code, said = fleet[0].control("/rm", n=1, hostnames=["backend3"])
        self.assertEqual(code, 200, said)
        rig.until(lambda: "backend3" not in fleet[1].replicas(), "seen", SEEN_WITHIN)

        def heal():
            self.redis = self.started(self.redis.restart())

        self.goes_on(fleet[1], self.redis.kill, heal, "unreachable")
        self.all_meet(fleet)
        self.assertTrue(all("backend3" not in balancer.replicas() for balancer in fleet))
        late = self.balancer_without("backend3")
        rig.until(lambda: "backend3" not in late.replicas(), "an empty Redis was told everything again", SEEN_WITHIN)

    def balancer_without(self, _name):
        file = self.directory / "late.toml"
        file.write_text(config(f"redis://127.0.0.1:{self.redis.port}", self.backends))
        return self.started(rig.Serving(self.directory, file, "late"))

    def test_stopped(self):
        self.addCleanup(self.redis.signal, signal.SIGCONT)
        balancer = self.balancer("balancer")
        stop, go = (lambda number=number: self.redis.signal(number) for number in (signal.SIGSTOP, signal.SIGCONT))
        self.goes_on(balancer, stop, go, "timeout")

    def test_slow_by_five_seconds(self):
        proxy = self.started(Proxy(self.redis.port))
        balancer = self.balancer("balancer", proxy.port)

        def delay(seconds):
            proxy.delay = seconds

        self.goes_on(balancer, lambda: delay(5.0), lambda: delay(0.0), "timeout")

    def test_nonsense(self):
        balancer = self.balancer("balancer")
        babblers = []

        def babble():
            self.redis.kill()
            babblers.append(self.started(Babbler(self.redis.port)))

        self.goes_on(balancer, babble, result="unreadable")

    def test_full(self):
        balancer = self.balancer("balancer")
        self.redis.say("CONFIG", "SET", "maxmemory-policy", "noeviction")
        full = lambda: self.redis.say("CONFIG", "SET", "maxmemory", "1")
        self.goes_on(balancer, full, lambda: self.redis.say("CONFIG", "SET", "maxmemory", "0"), "refused")

    def test_flushed(self):
        fleet = self.fleet()
        self.measured(fleet[0], 6, lambda: self.redis.say("FLUSHALL"))
        self.all_meet(fleet)
        self.assertEqual([len(facts(balancer, "store_lost")) for balancer in fleet], [0] * BALANCERS)

    def test_one_is_cut_off(self):
        proxy = self.started(Proxy(self.redis.port))
        fleet = self.fleet((proxy.port, None, None))

        def cut(swallows):
            proxy.swallows = swallows

        self.goes_on(fleet[0], lambda: cut(True), None, "timeout")
        self.all_meet(fleet[1:], within=FORGOTTEN_WITHIN)
        code, said = fleet[1].control("/rm", n=1, hostnames=["backend1"])
        self.assertEqual(code, 200, said)
        self.assertIn("backend1", fleet[0].replicas(), "it cannot have heard")
        cut(False)
        self.all_meet(fleet)
        rig.until(lambda: "backend1" not in fleet[0].replicas(), "what was missed is made up for", SEEN_WITHIN)


class Rolling(Fleet):
    def test_three_are_restarted_under_load(self):
        """Each in turn, while clients of the others go on: nobody's request fails, and members are known at once."""
        fleet = self.fleet()
        self.assertEqual(fleet[0].control("/rm", n=1, hostnames=["backend6"])[0], 200)
        for at in range(BALANCERS):
            rig.until(lambda: "backend6" not in fleet[at].replicas(), "known", SEEN_WITHIN)
            others = [balancer for balancer in fleet if balancer is not fleet[at]]
            loads = [clients.start(clients.hey_line(f"{b.traffic}/home", "-z", "5s", "-c", "4", "-q", "50")) for b in others]
            file = self.directory / f"balancer{at + 1}.toml"
            fleet[at].stop()
            (self.directory / f"balancer{at + 1}.state.json").unlink(missing_ok=True)
            fleet[at] = self.started(rig.Serving(self.directory, file, f"balancer{at + 1}-again"))
            rig.until(lambda: "backend6" not in fleet[at].replicas(), "learned from the others", SEEN_WITHIN)
            for load in loads:
                tally = clients.hey(clients.report(load))
                self.assertEqual(tally.bad, 0, tally.text)
        self.all_meet(fleet)


class Replicas(Fleet):
    """The first balancer starts replicas of its own; for the others they are backends."""

    def test_replicas_of_one_serve_for_all_and_leave_without_a_failure(self):
        first = self.balancer("balancer1", more='[replicas]\nprovider = "process"\n')
        others = [self.balancer("balancer2"), self.balancer("balancer3")]
        self.all_meet([first, *others])
        begun = time.monotonic()
        code, said = first.control("/add", n=1, hostnames=["S9"])
        self.assertEqual(code, 200, said)
        for balancer in others:
            rig.until(lambda: "S9" in balancer.replicas(), "a replica of another's", SEEN_WITHIN)
        print(f"    /add seen by all after {time.monotonic() - begun:.2f} s")
        for balancer in others:
            rig.until(lambda: balancer.eligible() == BACKENDS + 1, "and it is healthy")
            served = lambda: balancer.metrics().by("lb_decisions_total", "backend").get("S9")
            rig.until(lambda: rig.get(f"{balancer.traffic}/home") and served(), "it serves for the others")
        rig.os.kill(first.processes()["S9"], signal.SIGKILL)
        for balancer in others:
            replaced = lambda: "S9" not in balancer.replicas() and len(balancer.replicas()) == BACKENDS + 1
            rig.until(replaced, "the replacement is known under its own name")
        loads = [clients.start(clients.hey_line(f"{b.traffic}/home", "-z", "8s", "-c", "4", "-q", "50")) for b in others]
        first.popen.terminate()
        self.assertEqual(first.wait(20), 0)
        for balancer, load in zip(others, loads):
            tally = clients.hey(clients.report(load))
            self.assertEqual(tally.bad, 0, tally.text)
            self.assertEqual(len(balancer.replicas()), BACKENDS, "it went before its balancer did")
            dead = [fact["backend"] for fact in facts(balancer, "unhealthy") if fact["backend"] != "S9"]
            self.assertEqual(dead, [], "nobody met it dead, as they did the killed one")


class Encrypted(Fleet):
    def made(self, name, *more):
        """Runs openssl in the test's directory."""
        clients.run(["openssl", name, *more], cwd=self.directory)

    def test_tls_and_a_password_of_its_own(self):
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj")
        (self.directory / "leaf.ext").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        self.made("req", "-x509", *key, "/CN=ca", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem")
        self.made("req", *key, "/CN=redis", "-keyout", "leaf.key", "-out", "leaf.csr")
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "leaf.ext")
        self.made("x509", "-req", "-in", "leaf.csr", *signed, "-out", "leaf.pem")
        port, at = rig.free_port(), self.directory
        own = ("--tls-port", port, "--tls-cert-file", at / "leaf.pem", "--tls-key-file", at / "leaf.key")
        own += ("--tls-ca-cert-file", at / "ca.pem", "--tls-auth-clients", "no")
        directory = self.directory / "tls"
        directory.mkdir()
        server = self.started(Redis(directory, None, *own))
        server.say("CONFIG", "SET", "requirepass", "hush-4711")
        (at / "password").write_text("hush-4711\n")
        file = at / "tls.toml"
        settings = f'password_file = "{at / "password"}"\n'
        text = config(f"rediss://127.0.0.1:{port}", self.backends)
        file.write_text(text.replace("[store]\n", f"[store]\n{settings}"))
        trusting = self.started(rig.Serving(at, file, "trusting", SSL_CERT_FILE=str(at / "ca.pem")))
        rig.until(lambda: trusting.metrics().sum("lb_state_store_up") == 1, "a round over TLS")
        wary = self.started(rig.Serving(at, file, "wary"))
        lost = rig.until(lambda: facts(wary, "store_lost"), "a certificate of nobody's is refused")
        self.assertEqual(wary.metrics().sum("lb_state_store_up"), 0, lost)
        self.assertEqual(wary.eligible(), BACKENDS)
        for log in (trusting.err, wary.err):
            self.assertNotIn("hush", log.read_text())
