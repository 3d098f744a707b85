"""A pool that heals: replicas die, come and go under load, and no client notices.

`BALLAST_HAMMER_SECONDS` says how long /add and /rm are hammered: 20 unless told otherwise.
"""

import http.client
import os
import random
import signal
import threading
import time
import unittest
from pathlib import Path

import rig
from clients import Traffic

REPLICAS = 3
RATE = 500
# A replica that dies younger may be in a crash loop, and its replacement waits.
SHORT_LIFE = 10.0
OUT_WITHIN = 1.0
HEALED_WITHIN = 3.0
HAMMER_SECONDS = float(os.environ.get("BALLAST_HAMMER_SECONDS", "20"))
HAMMERS = 4
# Replicas that one change of a hammer is about, at most.
MOST = 2
# What a hammered pool begins with. A hammer only takes back what it has added, so there are never fewer.
BESIDE = 6


def config(algorithm, replicas, region):
    """The region is a mark: by it all processes of one test are found, whoever their parent is by then."""
    pool = "".join(f'[[pool.backend]]\nname = "S{n}"\nregion = "{region}"\n' for n in range(1, replicas + 1))
    return f"""\
[listen]
traffic = "127.0.0.1:0"
admin = "127.0.0.1:0"
[replicas]
provider = "process"
region = "{region}"
[pool]
algorithm = "{algorithm}"
{pool}"""


class Healing(unittest.TestCase):
    replicas = REPLICAS
    algorithm = "round_robin"

    def setUp(self):
        self.directory = rig.directory(self.id())
        self.region = f"heal-{os.getpid()}-{random.randrange(10**9)}"
        self.file = self.directory / "balancer.toml"
        self.file.write_text(config(self.algorithm, self.replicas, self.region))
        self.balancer = self.start("balancer")
        self.born = time.monotonic()

    def start(self, log):
        """Members stay in its state file over a restart."""
        balancer = rig.Serving(self.directory, self.file, log)
        self.addCleanup(balancer.stop)
        return balancer

    def running(self):
        """Every replica of this test that runs, by name, whether the balancer lives or not."""
        pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        return {pid: found["--name"] for pid in pids if (found := rig.flags(pid)).get("--region") == self.region}

    def process_of(self, name):
        return self.balancer.processes()[name]

    def whole(self):
        """Every member runs, nobody else does, and all are eligible."""
        names = self.balancer.replicas()
        return sorted(self.running().values()) == sorted(names) and self.balancer.eligible() == len(names)

    def assert_unnoticed(self, traffic):
        """No request failed, enough were sent, and no retry went to the backend that had failed."""
        last = "\n".join(fact["text"] for fact in self.balancer.facts()[-40:])
        self.assertEqual(traffic.failed[:5], [], f"{len(traffic.failed)} of {traffic.good} failed\n{last}")
        metrics = self.balancer.metrics()
        self.assertEqual(metrics.sum("lb_retries_same_backend_total"), 0)
        self.assertEqual(set(metrics.by("lb_requests_total", "code")), {"200"})
        return metrics


class Killed(Healing):
    """`kill -9` of each of three replicas, one after the other."""

    def kill_each(self):
        with Traffic(self.balancer.traffic, RATE) as traffic:
            time.sleep(SHORT_LIFE + 0.5 - (time.monotonic() - self.born))
            for victim in [f"S{n}" for n in range(1, REPLICAS + 1)]:
                self.kill(victim)
                time.sleep(0.3)
            # One that has just come: its replacement waits a little, in case it is a crash loop.
            self.kill(self.balancer.replicas()[-1])
            self.assertGreater(traffic.good, 0.9 * RATE * SHORT_LIFE, "the load was not what it should be")
        metrics = self.assert_unnoticed(traffic)
        retried = metrics.by("lb_retries_total", "outcome")
        self.assertGreater(retried.get("success", 0), 0, "nothing was under way at any death: it proves nothing")
        self.assertEqual(set(retried), {"success"})
        self.assertEqual(len(self.balancer.replicas()), REPLICAS)
        self.assertTrue(self.whole())
        print(f"  {self.algorithm}: {traffic.good} requests, none failed, {retried['success']:g} by a retry, "
              f"the slowest took {traffic.slowest[0] * 1e3:.0f} ms", flush=True)

    def kill(self, victim):
        seen = self.balancer.facts()[-1]["number"]
        members = set(self.balancer.replicas())
        at = time.time()
        os.kill(self.process_of(victim), signal.SIGKILL)
        gone = ("ejected", "left", "replica_died", "unhealthy")
        out = self.first(seen, at, OUT_WITHIN, lambda fact: fact["kind"] in gone and victim in fact.values())
        healed = self.first(seen, at, HEALED_WITHIN, lambda fact: fact["kind"] == "healthy" and fact["backend"] not in members)
        self.assertNotIn(victim, self.balancer.replicas())
        print(f"  {self.algorithm}: {victim} killed, out after {out:.0f} ms, replaced after {healed:.0f} ms", flush=True)

    def first(self, seen, at, within, which):
        """Milliseconds from `at` (Unix seconds) until the first such fact after number `seen`."""
        def look():
            found = [fact for fact in self.balancer.facts() if fact["number"] > seen and which(fact)]
            return found and found[0]
        fact = rig.until(look, "the pool has noticed", within=within + 5)
        took = fact["at"] - at * 1e3
        self.assertLess(took, within * 1e3, fact["text"])
        return took


class KilledRoundRobin(Killed):
    algorithm = "round_robin"

    def test_each_replica(self):
        self.kill_each()


class KilledAdaptive(Killed):
    algorithm = "adaptive"

    def test_each_replica(self):
        self.kill_each()


class Hammered(Healing):
    """/add and /rm as fast as several impatient operators can, with names and without, right and wrong."""

    replicas = BESIDE
    algorithm = "adaptive"

    def test_add_and_rm_by_many_under_load(self):
        self.granted, self.answers, self.wrong, self.lock = 0, {}, [], threading.Lock()
        end = time.monotonic() + HAMMER_SECONDS
        hammers = [threading.Thread(target=self.hammer, args=(number, end)) for number in range(HAMMERS)]
        with Traffic(self.balancer.traffic, RATE / 2) as traffic:
            for thread in hammers:
                thread.start()
            for thread in hammers:
                thread.join()
        self.assertEqual(self.wrong[:5], [], "answers that are not documented")
        rig.until(self.whole, "the members run, and nobody else")
        self.assertEqual(len(self.balancer.replicas()), BESIDE + self.granted)
        metrics = self.assert_unnoticed(traffic)
        counted = metrics.by("lb_control_requests_total", "code")
        told = {str(code): sum(n for (_, c), n in self.answers.items() if c == code) for code in (200, 400, 502)}
        self.assertEqual(counted, {code: n for code, n in told.items() if n})
        slowest, answers = traffic.slowest[0] * 1e3, dict(sorted(self.answers.items()))
        print(f"  {HAMMER_SECONDS:g} s: {traffic.good} requests, none failed, the slowest took {slowest:.0f} ms; {answers}; "
              f"N {BESIDE} → {BESIDE + self.granted}", flush=True)

    def hammer(self, number, end):
        rng = random.Random(number)
        names = [f"h{n}" for n in range(6)]
        ahead = 0
        while time.monotonic() < end:
            n = rng.randint(1, MOST)
            some = rng.sample(names, rng.randint(0, n))
            endpoint = "/rm" if ahead >= n and rng.random() < 0.6 else "/add"
            if ahead >= 3 * MOST:
                endpoint, n, some = "/rm", ahead, []
            if rng.random() < 0.15:
                # Never granted: more names than n, nobody's name, or a name twice.
                some = rng.choice((names[:n + 1], [f"nobody-{number}", "-"][:n], [names[0]] * max(2, n)))
            ahead += self.ask(endpoint, n, some)
            time.sleep(rng.uniform(0.0, 0.1))

    def ask(self, endpoint, n, names):
        """Makes one change; returns by how much it was granted."""
        try:
            code, answer = self.balancer.control(endpoint, n=n, hostnames=names)
        except OSError as error:
            code, answer = 0, {"message": repr(error)}
        granted = (n if endpoint == "/add" else -n) if code == 200 else 0
        refused = code in (400, 502) and answer["status"] == "failure" and answer["message"].startswith("<Error> ")
        with self.lock:
            self.granted += granted
            self.answers[endpoint, code] = self.answers.get((endpoint, code), 0) + 1
            if not (refused or (code == 200 and answer["message"]["N"] == len(answer["message"]["replicas"]))):
                self.wrong.append((endpoint, n, names, code, answer))
        return granted


class Orphans(Healing):
    """`kill -9` of the balancer itself."""

    def test_a_killed_balancer_leaves_nobody_and_comes_back_whole(self):
        code, answer = self.balancer.control("/add", n=2, hostnames=["S7"])
        self.assertEqual(code, 200, answer)
        names = self.balancer.replicas()
        self.assertEqual((len(names), names[3]), (REPLICAS + 2, "S7"))
        for life in range(3):
            rig.until(self.whole, "the members run, and nobody else")
            # One more is being started while it dies.
            adding = threading.Thread(target=self.add_in_vain)
            adding.start()
            time.sleep(0.002 * life)
            self.balancer.kill()
            at = time.monotonic()
            rig.until(lambda: not self.running(), "no replica outlives the balancer", within=2)
            print(f"  the balancer killed, every replica ended after {(time.monotonic() - at) * 1e3:.0f} ms", flush=True)
            adding.join()
            self.balancer = self.start(f"balancer{life}")
            again = self.balancer.replicas()
            self.assertEqual(again[:len(names)], names, "the same members")
            # The last one, if it was granted in time.
            self.assertLessEqual(len(again), len(names) + 1)
            rig.until(self.whole, "exactly the members run")
            names = again
        self.assertEqual(self.balancer.metrics().sum("lb_retries_same_backend_total"), 0)

    def add_in_vain(self):
        try:
            self.balancer.control("/add", n=1)
        except (OSError, http.client.HTTPException):
            pass  # It died before it could answer.
