"""A Redis that fails in every way while requests go on: none fails, and none takes longer.

Each failure is held against a balancer without a store, under the same load in the same moments before the same backends.
"""

import signal
import time

import rig
from redis_server import Babbler, Proxy, Redis
from side_by_side import SideBySide
from store_fleet import BALANCERS, FORGOTTEN_WITHIN, SEEN_WITHIN, Fleet, config, facts

# Backends that take half a second. A request that waited for Redis would wait for store.timeout, half a second, or more; a
# tenth of what it takes anyway is below that, and above what a busy machine does to one process and not to its neighbour.
PATH = "/bench500"
CONNECTIONS = 80
P99_MOST = 1.10
# Longer than an answer is held back (test_slow_by_five_seconds); and for a return.
HURT_SECONDS = 7
HEALING_SECONDS = 5


class Trouble(Fleet):
    alone = "compares p99"

    def setUp(self):
        super().setUp()
        # Beside every balancer under test: what is slow at both is the machine.
        file = self.directory / "beside.toml"
        text = config("", self.backends)
        file.write_text(text)
        self.beside = self.started(rig.Serving(self.directory, file, "beside"))

    def measured(self, balancer, seconds, during=lambda: None):
        """Under a load during which something happens no request fails, and p99 is what it is beside, but for a tenth."""
        with SideBySide([balancer.traffic, self.beside.traffic], PATH, CONNECTIONS) as load:
            rig.until(lambda: len(load.took[0]) > 100, "the load is under way")
            until = time.monotonic() + seconds
            during()
            time.sleep(max(0, until - time.monotonic()))
        self.assertEqual(load.failed, [])
        self.assertGreater(min(map(len, load.took)), 40 * seconds, "enough of them that the slowest hundredth says something")
        here, beside = load.p99
        print(f"    p99 {here:.1f} ms, {beside:.1f} ms beside without a store")
        self.assertLessEqual(here, beside * P99_MOST)

    @staticmethod
    def up(balancer):
        return balancer.metrics().sum("lb_state_store_up")

    def goes_on(self, balancer, hurt, heal=None, result=None):
        """While Redis is hurt nothing fails and nothing waits; the loss is told once, and so is the return."""
        told = len(facts(balancer, "store_lost"))

        def trouble():
            hurt()
            rig.until(lambda: self.up(balancer) == 0, "the loss is seen", 10)

        self.measured(balancer, HURT_SECONDS, trouble)
        self.assertEqual(len(facts(balancer, "store_lost")), told + 1)
        if result:
            self.assertGreater(balancer.metrics().sum("lb_state_store_operations_total", result=result), 0)
        if heal:
            self.measured(balancer, HEALING_SECONDS, heal)
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
        # Long enough that no round of a busy machine's is lost to time: here none may be.
        self.store_settings = 'interval = "3s"\ntimeout = "3s"'
        fleet = self.fleet()
        self.measured(fleet[0], 8, lambda: self.redis.say("FLUSHALL"))
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
