"""What a real node-exporter says about the machine, scraped beside backends that know nothing of it."""

import unittest

import rig
from case import Case
from rig import Path

EXPORTER = "prometheus-node-exporter"
# What the machine's memory may change by between two looks, as a share of it.
BETWEEN_LOOKS = 0.15


class Exporter(rig.Process):
    """Debian's node-exporter, with its usual collectors."""

    def __init__(self, log, address="127.0.0.1:0"):
        log.with_suffix(".err").unlink(missing_ok=True)
        super().__init__(log, EXPORTER, f"--web.listen-address={address}")
        self.address = self.said(r'Listening on.* address=(\S+)\n', self.err)[1]


def memory_in_use():
    """What the kernel says, as a share."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available, total = (int(lines[name].split()[0]) for name in ("MemAvailable", "MemTotal"))
    return 1 - available / total


class Signals(Case):
    def setUp(self):
        self.exporter = Exporter(rig.directory(f"{self.id()}.exporter") / "exporter")
        self.addCleanup(lambda: self.exporter.stop())
        port = self.exporter.address.rpartition(":")[2]
        self.settings = f"""\
[signals]
source = "metrics"
preset = "node_exporter"
port = {port}
interval = "300ms"
timeout = "250ms"
"""
        super().setUp()

    def reported(self, signal):
        """By backend; a backend that says nothing is not in it."""
        metrics = self.balancer.metrics()
        family = f"lb_backend_{signal}_usage_ratio"
        return {labels["backend"]: value for name, labels, value in metrics.samples if name == family}

    def facts(self, kind):
        return self.balancer.metrics().by("lb_facts_total", "kind").get(kind, 0)

    def test_the_machine_is_seen_as_it_is(self):
        # Rates need two scrapes of each backend.
        shares = rig.until(lambda: len(found := self.reported("cpu")) == 3 and found, "the CPU of all three")
        self.assertTrue(all(0 <= share <= 1.01 for share in shares.values()), shares)
        for share in self.reported("memory").values():
            self.assertAlmostEqual(share, memory_in_use(), delta=BETWEEN_LOOKS)
        scrapes = self.balancer.metrics().by("lb_scrapes_total", "result")
        # A busy machine may be late with an answer now and again.
        self.assertLessEqual(scrapes.keys(), {"ok", "timeout"})

    def test_an_exporter_may_die_and_return(self):
        rig.until(lambda: len(self.reported("memory")) == 3, "its word")
        self.exporter.kill()
        rig.until(lambda: self.facts("signals_lost") >= 3, "the loss is told")
        self.assertEqual(self.reported("memory"), {})
        for _ in range(10):
            self.assertEqual(rig.get(self.url())[0], 200)
        self.assertEqual(self.balancer.eligible(), 3, "an exporter is not its backend")
        self.exporter = Exporter(self.exporter.out.with_suffix(""), self.exporter.address)
        rig.until(lambda: len(self.reported("memory")) == 3, "its word again")
        rig.until(lambda: self.facts("signals_back") >= 3, "the return is told")


if __name__ == "__main__":
    unittest.main()
