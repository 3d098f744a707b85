"""Three balancers over one real Redis: one order of turns, one membership, votes, shared scrapes; whatever their clocks say."""

import concurrent.futures
import json
import signal
import time
import urllib.request
from pathlib import Path

import clients
import rig
from redis_server import Redis
from store_fleet import BACKENDS, BALANCERS, FORGOTTEN_WITHIN, SEEN_WITHIN, Fleet, config, facts, pass_rounds

REQUESTS = 10_000
# Of the turns: two pieces a balancer and one (lb_core::turns), and one for each that drew alone.
BOUND = 2 * BALANCERS + 1


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

    def test_registered_at_two_at_once_they_are_in_one_order_and_own_the_same_keys(self):
        """By the slots of the assignment, which go by members' numbers; `ip_hash` and the turns go by the same list."""
        settings = '[control]\nregistration = true\n[hash]\npreset = "assignment"\n[client]\ntrusted_proxies = ["127.0.0.0/8"]\n'
        fleet = self.fleet(more=settings)
        extra = [self.started(rig.Backend(self.directory, name)) for name in ("extra1", "extra2")]

        def register(balancer, backend):
            rig.post(f"{balancer.admin}/server_up", json.dumps({"url": f"http://{backend.address}"}).encode())

        with concurrent.futures.ThreadPoolExecutor() as both:
            list(both.map(register, fleet[:2], extra))
        orders = lambda: [balancer.replicas() for balancer in fleet]
        agreed = lambda: all(order == orders()[0] and len(order) == BACKENDS + 2 for order in orders())
        rig.until(agreed, "one order", SEEN_WITHIN)
        late = self.balancer("balancer4", more=settings)
        rig.until(lambda: late.replicas() == fleet[0].replicas(), "the same order at a new balancer", SEEN_WITHIN)
        for balancer in (*fleet, late):
            rig.until(lambda: balancer.eligible() == BACKENDS + 2, "and they are healthy")
        homes = [[home(balancer, key) for key in range(60)] for balancer in (*fleet, late)]
        self.assertEqual(len({json.dumps(each) for each in homes}), 1, homes)
        self.assertLessEqual({"extra1", "extra2"}, {name for pair in homes[0] for name in pair})

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
        self.assertTrue(10 < followed[0]["seconds"] <= 20, followed)
        self.assertEqual(fleet[2].metrics().by("lb_requests_total", "code"), {}, "it has seen nothing itself")


def home(balancer, key):
    """Whom a key belongs to by consistent_hash, and whom a client by ip_hash."""
    def asked(query):
        request = urllib.request.Request(f"{balancer.traffic}/home?{query}", headers={"X-Forwarded-For": f"198.51.{key}.7"})
        code, text = rig.fetch(request)
        assert code == 200, text
        return text.partition("Hello from Server: ")[2].partition('"')[0]
    return asked(f"algo=consistent_hash&request_id=key{key}"), asked("algo=ip_hash")


class Skewed(Together):
    """All of the same with wall clocks two hours apart: one an hour fast, one an hour slow, the others and Redis right."""

    HOUR = 3600
    offsets = {"balancer1": HOUR, "balancer2": -HOUR}

    def environment(self, name):
        offset = self.offsets.get(name)
        if offset is None:
            return {}
        [library] = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
        # Only what depends on an operator's clock: time since the start passes as it does.
        return {"LD_PRELOAD": str(library), "FAKETIME": f"{offset:+d}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    def test_nobody_is_forgotten_and_clocks_are_what_this_test_says(self):
        fleet = self.fleet()
        for balancer, name in zip(fleet, ("balancer1", "balancer2", "balancer3")):
            off = balancer.facts()[0]["at"] / 1000 - time.time() - self.offsets.get(name, 0)
            self.assertLess(abs(off), 60, f"{name}'s clock")
        until = time.monotonic() + FORGOTTEN_WITHIN
        while time.monotonic() < until:
            pass_rounds(fleet, 1)
            live = [balancer.metrics().sum("lb_balancers_live") for balancer in fleet]
            self.assertEqual(live, [BALANCERS] * BALANCERS)
        # Last words: the slow clock's is later than the fast one's.
        for balancer, endpoint, count in ((fleet[0], "/rm", BACKENDS - 1), (fleet[1], "/add", BACKENDS)):
            code, said = balancer.control(endpoint, n=1, hostnames=["backend2"])
            self.assertEqual(code, 200, said)
            for each in fleet:
                rig.until(lambda: len(each.replicas()) == count, f"{endpoint} seen by {each.admin}", SEEN_WITHIN)
        pass_rounds(fleet, 3)
        self.assertEqual([len(balancer.replicas()) for balancer in fleet], [BACKENDS] * BALANCERS)


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
