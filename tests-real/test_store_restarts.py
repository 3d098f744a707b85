"""Balancers that share a store and are stopped, started anew, or crash: no request is lost, and no member."""

import json
import random
import socket
import time

import rig
from redis_server import Redis
from service import Service
from store_fleet import BACKENDS, BALANCERS, SEEN_WITHIN, Fleet, config, facts, pass_rounds

RATE = 200
# Of the drain's delay: twenty looks at /ready.
DELAY = 2.0
# To end: the delay, a drain with nothing in flight, and the others' confirmation.
END_WITHIN = DELAY + 15.0


def fixed_port():
    """A free one below those that the kernel gives to outgoing connections, so that it stays free for a restart."""
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError("no port is free")


class Rolling(Fleet):
    settings = f'[timeouts]\ndrain_delay = "{DELAY:g}s"\n'

    def at_fixed_ports(self, name):
        """A balancer of the fleet that can come back where it was."""
        text = config(f"redis://127.0.0.1:{self.redis.port}", self.backends, self.settings)
        for listener in ("traffic", "admin"):
            text = text.replace(f'{listener} = "127.0.0.1:0"', f'{listener} = "127.0.0.1:{fixed_port()}"')
        (self.directory / f"{name}.toml").write_text(text)
        return self.serving(name, name)

    def serving(self, name, log):
        return self.started(rig.Serving(self.directory, self.directory / f"{name}.toml", log))

    def test_three_are_restarted_in_turn_and_no_request_is_lost(self):
        """Not at those that stay, nor at the one that goes; and each comes back knowing what it missed."""
        fleet = [self.at_fixed_ports(f"balancer{n}") for n in range(1, BALANCERS + 1)]
        for balancer in fleet:
            rig.until(lambda: balancer.eligible() == BACKENDS, "every backend eligible")
        self.all_meet(fleet)
        self.assertEqual(fleet[0].control("/rm", n=1, hostnames=["backend6"])[0], 200)
        for balancer in fleet:
            rig.until(lambda: "backend6" not in balancer.replicas(), "removed at all", SEEN_WITHIN)
        begun = time.monotonic()
        with Service(fleet, RATE) as service:
            for at, old in enumerate(fleet):
                rig.until(lambda: all(service.ready), "all three are ready")
                old.popen.terminate()
                rig.until(lambda: not service.ready[at], "the client hears of it", DELAY)
                self.assertEqual(old.wait(END_WITHIN), 0)
                # What it had written down is gone, too: it knows from the others.
                (self.directory / f"balancer{at + 1}.state.json").unlink(missing_ok=True)
                fleet[at] = self.serving(f"balancer{at + 1}", f"balancer{at + 1}-again")
                self.assertEqual(fleet[at].traffic, old.traffic)
                rig.until(lambda: "backend6" not in fleet[at].replicas(), "learned from the others", SEEN_WITHIN)
            rig.until(lambda: all(service.ready), "all three are ready again")
            for balancer in fleet:
                rig.until(lambda: balancer.metrics().sum("lb_requests_total"), f"{balancer.traffic} serves again")
        took, good = time.monotonic() - begun, sum(service.good)
        print(f"    {good} requests in {took:.1f} s over three restarts, {len(service.failed)} failed")
        self.assertEqual(service.failed, [])
        self.assertGreater(good, 0.9 * RATE * took, "the load went on throughout")
        self.all_meet(fleet)


class Crashed(Fleet):
    settings = "[control]\nregistration = true\n"

    def members(self, fleet):
        """What all say alike, or nothing."""
        lists = [balancer.replicas() for balancer in fleet]
        return lists[0] if lists[1:] == lists[:-1] else None

    def test_one_of_a_fixed_name_crashes_while_redis_is_away(self):
        """It comes back before Redis does, and nobody loses a member by it or has one twice."""
        self.store_settings = 'instance = "first"'
        first = self.balancer("balancer1", more=self.settings + '[replicas]\nprovider = "process"\n')
        self.store_settings = ""
        others = [self.balancer("balancer2"), self.balancer("balancer3")]
        self.all_meet([first, *others])
        extra = self.started(rig.Backend(self.directory, "extra"))
        rig.post(f"{first.admin}/server_up", json.dumps({"url": f"http://{extra.address}"}).encode())
        self.assertEqual(first.control("/add", n=1, hostnames=["S8"])[0], 200)
        rig.until(lambda: len(self.members([first, *others]) or ()) == BACKENDS + 2, "both known to all", SEEN_WITHIN)
        self.redis.kill()
        up = lambda balancer: balancer.metrics().sum("lb_state_store_up")
        rig.until(lambda: not any(map(up, [first, *others])), "the loss is seen by all")
        # Of these two nobody else can hear now, and of one the crash takes who said it.
        self.assertEqual(first.control("/add", n=1, hostnames=["S9"])[0], 200)
        self.assertEqual(others[0].control("/rm", n=1, hostnames=["backend6"])[0], 200)
        before = first.processes()
        first.kill()
        first = self.started(rig.Serving(self.directory, self.directory / "balancer1.toml", "balancer1-again"))
        rig.until(lambda: {"S8", "S9"} <= first.processes().keys(), "its replicas run again")
        self.assertFalse(set(before.values()) & set(first.processes().values()), "as other processes")
        self.assertIn("backend6", first.replicas(), "it cannot have heard")
        self.redis = self.started(Redis(self.directory, self.redis.port))
        fleet, expected = [first, *others], {f"backend{n}" for n in range(1, BACKENDS)} | {"S8", "S9"}
        expected.add(f"127.0.0.1-{extra.address.rpartition(':')[2]}")
        self.all_meet(fleet)
        said = rig.until(lambda: (said := self.members(fleet)) and set(said) == expected and said, "the same at all", 5)
        self.assertEqual(len(said), len(expected), "none twice")
        for balancer in fleet:
            rig.until(lambda: balancer.eligible() == len(expected), f"all of them healthy at {balancer.admin}")
        pass_rounds(fleet, 3)
        self.assertEqual(self.members(fleet), said, "and so it stays")
        for balancer in fleet:
            self.assertEqual(facts(balancer, "name_taken"), [], "an earlier start is no namesake")
            answers = {rig.get(f"{balancer.traffic}/home")[0] for _ in range(4 * len(expected))}
            self.assertEqual(answers, {200})
        self.assertEqual(sorted(first.processes()), ["S8", "S9"], "each runs once")
