"""Several balancers over one real Redis and the same backends, as the tests of the shared store need them."""

import unittest

import rig
from redis_server import Redis

BALANCERS = 3
BACKENDS = 6
SEEN_WITHIN = 2.0
# The store forgets who says nothing for ten seconds.
FORGOTTEN_WITHIN = 15.0


def config(store, backends, more="", checks=True, store_more=""):
    pool = rig.members_text(backends)
    return f"""\
[listen]
traffic = "127.0.0.1:0"
admin = "127.0.0.1:0"
[store]
url = "{store}"
{store_more}
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
    store_settings = ""
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
        file.write_text(config(f"redis://127.0.0.1:{port or self.redis.port}", self.backends, more, self.checks, self.store_settings))
        balancer = self.started(rig.Serving(self.directory, file, name, **self.environment(name)))
        rig.until(lambda: balancer.eligible() >= BACKENDS, f"every backend eligible at {name}")
        return balancer

    def environment(self, _name):
        """What a balancer of this name finds in its environment."""
        return {}

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
