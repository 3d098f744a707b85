"""More than there is room for: too few file descriptors, clients that never finish a request, three times the requests.

The balancer may refuse; it must not spin, blame backends, grow, or let those wait who ask for what it can do.
"""

import contextlib
import itertools
import re
import resource
import time

import clients
import rig
from case import Case
from clients import Crowd, hey, hey_line
from connections import ask, hold

# Seconds over which processor time is looked at, and the share of one core that a balancer may use while it can do nothing:
# health checks of three backends every half second are in it.
LOOK, IDLE_SHARE = 1.5, 0.2
# What hey's 99th percentile may differ by between two runs of the same load on a busy machine, in seconds.
FLOOR = 0.004
# How often what goes by times is done: other work on the machine spoils some of it, what the balancer does wrong all of it.
# The best of each side are compared, after as few as suffice.
ROUNDS = 4
# Bytes of memory that a balancer may have more after the same overload once more.
GROWTH = 2 << 20


class Descriptors(Case):
    alone = "processor time is looked at"
    within = ("prlimit", "--nofile=256:256")

    def used(self):
        before = self.balancer.cpu()
        time.sleep(LOOK)  # What is measured is this very time.
        return (self.balancer.cpu() - before) / LOOK

    def served(self):
        tally = hey(clients.run(hey_line(self.url(), "-n", 200, "-c", 10)).decode())
        self.assertEqual((tally.good, tally.bad), (200, 0), tally.text)

    def unharmed(self):
        """No backend was taken out for what the balancer lacked."""
        self.assertEqual([fact for fact in self.balancer.facts() if fact["kind"] in ("ejected", "unhealthy")], [])
        self.assertEqual(self.balancer.eligible(), 3)

    def test_more_clients_than_descriptors_wait_and_operators_do_not(self):
        limit = self.balancer.metrics().sum("lb_downstream_connections_limit", listener="traffic")
        self.assertTrue(20 <= limit <= 110, limit)
        self.assertIn("too few file descriptors", self.balancer.err.read_text())
        with contextlib.ExitStack() as stack:
            held = hold(stack, self.balancer.traffic, 600)
            rig.until(
                lambda: self.balancer.metrics().sum("lb_downstream_connections", listener="traffic") == limit,
                "every place is taken",
            )
            self.assertLess(self.used(), IDLE_SHARE, "it spins")
            self.assertEqual([ask(connection) for connection in held[:10]], [b"HTTP/1.1 200 OK"] * 10)
            self.unharmed()
            self.assertEqual(self.balancer.metrics().sum("lb_downstream_accept_failures_total"), 0)
        self.served()

    def test_it_pauses_when_there_is_none_left_and_recovers(self):
        self.served()
        pid = self.balancer.popen.pid
        with contextlib.ExitStack() as stack:
            held = hold(stack, self.balancer.traffic, 2)
            self.assertEqual([ask(connection) for connection in held], [b"HTTP/1.1 200 OK"] * 2)
            # From one moment to the next nothing may be opened any more.
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (8, 256))
            waiting = hold(stack, self.balancer.traffic, 20)
            self.assertLess(self.used(), IDLE_SHARE, "it spins")
            # Whoever is inside is answered: over a connection to a backend that rests, or else refused.
            statuses = {ask(connection) for connection in held}
            self.assertTrue(statuses <= {b"HTTP/1.1 200 OK", b"HTTP/1.1 503 Service Unavailable"}, statuses)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (256, 256))
            self.assertEqual({ask(connection) for connection in waiting}, {b"HTTP/1.1 200 OK"})
        self.served()
        self.assertGreater(self.balancer.metrics().sum("lb_downstream_accept_failures_total"), 0)
        self.unharmed()


class Slow(Case):
    alone = "it goes by times"

    def measured(self):
        """Errors, and the 99th percentile in seconds, of 2,000 requests a second for two seconds."""
        text = clients.run(hey_line(self.url(), "-z", "2s", "-c", 20, "-q", 100)).decode()
        return hey(text).bad, float(re.search(r"99% in ([\d.]+) secs", text)[1])

    def test_a_thousand_slow_clients_cost_the_others_nothing(self):
        seen = []
        for _ in range(ROUNDS):
            seen.append((self.beside_slow_clients(), self.measured()))
            self.assertEqual({bad for pair in seen for bad, _ in pair}, {0}, "requests failed")
            beside, without = (min(p99 for _, p99 in runs) for runs in zip(*seen))
            if beside <= max(1.2 * without, without + FLOOR):
                return
        self.fail(f"p99 in seconds beside slow clients and without them: {seen}")

    def beside_slow_clients(self):
        with contextlib.ExitStack() as stack:
            slow = hold(stack, self.balancer.traffic, 1_000)
            for connection in slow:
                connection.sendall(b"POST /echo HTTP/1.1\r\nHost: slow\r\nX-A: ")
            rig.until(
                lambda: self.balancer.metrics().sum("lb_downstream_connections", listener="traffic") >= 1_000, "all inside"
            )

            def drip():
                at = 0
                while not crowd.stopping.wait(0.01):
                    for connection in slow[at:at + 10]:
                        with contextlib.suppress(OSError):
                            connection.sendall(b"a")
                    at = (at + 10) % len(slow)

            crowd = Crowd(drip, [()], clients.WITHIN)
            with crowd:
                return self.measured()


class Overload(Case):
    """Twelve requests of 50 ms at once is what three backends may be given: 240 a second."""

    alone = "it goes by rates"
    within = ("env", "BALLAST_POOL__MAX_IN_FLIGHT=4", "BALLAST_QUEUE__LENGTH=24", "BALLAST_QUEUE__WAIT=1s",
              "BALLAST_RETRY__ATTEMPTS=0")

    def rate(self, *flags):
        begun = time.monotonic()
        tally = hey(clients.run(hey_line(self.url("/bench50"), *flags)).decode())
        return tally, tally.good / (time.monotonic() - begun)

    def test_at_three_times_the_capacity_all_of_it_is_used_and_memory_is_flat(self):
        # All of them ask at the same moments: so often that what may wait (24) lasts from one to the next. 36 of the 90 have
        # an answer to wait for.
        overload = ("-c", 90, "-q", 12)
        # What this run brings memory to is what such a load needs: from there on it is flat.
        self.rate("-z", "3s", *overload)
        capacities, goodputs, memory = [], [], [self.balancer.memory()]
        for _ in range(ROUNDS):
            capacities.append(self.rate("-z", "2s", "-c", 12)[1])
            # Long enough that its beginning and its end, when not everybody asks, do not count.
            tally, goodput = self.rate("-z", "8s", *overload)
            goodputs.append(goodput)
            memory.append(self.balancer.memory())
            grown = min(after - before for before, after in itertools.pairwise(memory))
            self.assertGreater(tally.bad, tally.good * 0.8, f"no overload\n{tally.text}")
            if max(goodputs) >= 0.95 * max(capacities) and grown < GROWTH:
                break
        print(f"    can be done a second: {capacities}, was done: {goodputs}, bytes of memory: {memory}")
        self.assertGreater(max(capacities), 100)
        self.assertGreaterEqual(max(goodputs), 0.95 * max(capacities), tally.text)
        self.assertLess(grown, GROWTH)
        aborts = self.balancer.metrics().by("lb_request_aborts_total", "reason")
        told = {reason for reason, count in aborts.items() if count}
        self.assertLessEqual(told, {"queue_full", "queue_timeout", "client_closed"}, aborts)
        self.assertEqual([fact for fact in self.balancer.facts() if fact["kind"] == "ejected"], [])
