"""The traffic lab over sockets: the whole balancer beside HAProxy, over the lab's own backends."""

import json
import subprocess
import unittest

import rig


class Lab(unittest.TestCase):
    def test_who_counts_failures_is_not_a_sink_for_them(self):
        """One of six answers 500 at once. Latencies of so short a run on a machine with other work prove nothing; where
        the requests went does."""
        out = rig.directory(self.id())
        command = [rig.PROGRAMS / "traffic-lab", "scenario", "S4", "--quick", "--out", out]
        command += ["--policies", "adaptive,haproxy-leastconn", "--ours", rig.PROGRAMS / "load-balancer"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=120, env=rig.environment())
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        results = json.loads((out / "sockets.json").read_text())
        self.assertEqual(results["skipped"], [])
        [scenario] = results["scenarios"]
        errors = {row["policy"]: row["figures"]["error_percent"]["median"] for row in scenario["rows"]}
        self.assertGreater(errors["haproxy-leastconn"], 10, errors)
        self.assertLess(errors["adaptive"], errors["haproxy-leastconn"] / 20, errors)


if __name__ == "__main__":
    unittest.main()
