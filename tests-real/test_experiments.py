"""`traffic-lab run NAME`: every experiment by its one command, with what it must come to; and nothing is left behind."""

import json
import os
import re
import signal
import subprocess
import unittest
import xml.etree.ElementTree as xml
from pathlib import Path

import rig

MD5 = "md5-1024-100"
FIXTURES = {
    2: [5412, 4588],
    3: [3650, 3412, 2938],
    4: [2605, 2588, 2171, 2636],
    5: [2148, 2104, 1773, 1976, 1999],
    6: [1616, 1793, 1538, 1627, 1760, 1666],
}
WITHIN = 240


class Experiments(unittest.TestCase):
    early = True

    def setUp(self):
        self.directory = rig.directory(self.id())

    def command(self, *arguments):
        out = ["--out", self.directory, "--runs", self.directory / "runs"]
        return [str(word) for word in (rig.PROGRAMS / "traffic-lab", "run", *arguments, *out)]

    def environment(self):
        """A mark that all it starts inherits: by it they are found."""
        (self.directory / "tmp").mkdir(exist_ok=True)
        return {**rig.environment(), "TMPDIR": str(self.directory / "tmp")}

    def left(self):
        """Processes of this experiment that still run, and its files elsewhere."""
        mark = f"TMPDIR={self.directory / 'tmp'}".encode()
        processes = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    processes.append((entry / "cmdline").read_text())
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
        return processes + list((self.directory / "tmp").iterdir())

    def run_it(self, name, *flags, code=0):
        """Runs it; returns its results, and looks at everything that any of them must have."""
        run = subprocess.run(
            self.command(name, *flags), capture_output=True, text=True, timeout=WITHIN, env=self.environment(), check=False
        )
        self.assertEqual(run.returncode, code, run.stdout + run.stderr)
        self.assertNotIn("FAILS", run.stdout)
        self.assertEqual(self.left(), [])
        kept = self.directory / name
        report = json.loads((kept / f"{name}.json").read_text())
        self.assertEqual((report["name"], report["quick"]), (name, "--quick" in flags))
        self.assertTrue(report["checks"] and all(check["holds"] for check in report["checks"]), report["checks"])
        for table in report["tables"]:
            self.assertIn(table["title"], run.stdout)
            self.assertTrue(table["rows"] and all(len(row) == len(table["columns"]) for row in table["rows"]), table)
        self.assertTrue(report["charts"])
        self.assertEqual({chart["file"] for chart in report["charts"]}, {file.name for file in kept.glob("*.svg")})
        for chart in kept.glob("*.svg"):
            self.assertEqual(xml.parse(chart).getroot().tag, "{http://www.w3.org/2000/svg}svg")
            self.assertIn(chart.name, (kept / f"{name}.md").read_text())
        return report

    def drawn(self, name, chart, what):
        return (self.directory / name / chart).read_text().count(f'class="{what}"')

    def test_a_1_in_full(self):
        default, md5, without, crowd = self.run_it("a-1")["figures"]["spreads"]
        self.assertEqual((sum(default["counts"]), default["lost"]), (10_000, 0))
        self.assertLessEqual(max(default["counts"]) / (10_000 / 3), 1.05)
        self.assertEqual((sum(crowd["counts"]), crowd["lost"]), (10_000, 0))
        self.assertEqual((md5["counts"], md5["lost"]), (FIXTURES[3], 0))
        self.assertEqual(without["counts"], [333, 306, 361])
        self.assertEqual(self.drawn("a-1", "a-1-servers.svg", "bar"), 9)

    def test_a_2_covers_two_to_six_servers(self):
        spreads = self.run_it("a-2")["figures"]["spreads"]
        for preset in ("default", MD5):
            of = {len(spread["counts"]): spread["counts"] for spread in spreads if spread["preset"] == preset}
            self.assertEqual({count: sum(counts) for count, counts in of.items()}, dict.fromkeys(range(2, 7), 10_000))
            if preset == MD5:
                self.assertEqual(of, FIXTURES)
            chart = f"a-2-{preset}.svg"
            self.assertEqual([self.drawn("a-2", chart, what) for what in ("line", "band")], [1, 1])

    def healed(self, name):
        report = self.run_it(name, "--quick")
        healed = report["figures"]["healed"]
        self.assertEqual(healed["failed"], 0)
        self.assertGreater(healed["sent"], 800)
        self.assertTrue(0 < healed["respawn_ms"] < 3_000, healed)
        self.assertNotEqual(healed["victim"], healed["heir"])
        return report

    def test_a_3_endpoints_and_a_killed_replica(self):
        endpoints = self.healed("a-3")["tables"][0]
        self.assertGreaterEqual(len(endpoints["rows"]), 15)
        self.assertEqual([row[2] for row in endpoints["rows"]], [row[3] for row in endpoints["rows"]])

    def test_failure_loses_nothing(self):
        report = self.healed("failure")
        self.assertEqual(report["figures"]["after"], [333, 306, 361])
        self.assertEqual(self.drawn("failure", "failure-timeline.svg", "line"), 4)

    def test_a_4_tells_the_hash_functions_apart(self):
        spreads = self.run_it("a-4", "--quick")["figures"]["spreads"]
        worst = {}
        for spread in spreads:
            share = max(spread["counts"]) * len(spread["counts"]) / sum(spread["counts"])
            worst[spread["preset"]] = max(worst.get(spread["preset"], 0), share)
        self.assertEqual(len(worst), 4)
        self.assertGreater(worst["assignment"], 1.9)
        self.assertLess(worst["default"], 1.06)

    def test_phases_lose_nothing(self):
        phases = self.run_it("phases", "--quick")["figures"]["phases"]
        self.assertEqual([phase["good"] for phase in phases], [500] * 9)
        naive = [phase for phase in phases if phase["mode"] == "naive"]
        self.assertEqual([phase["published"] for phase in naive], [32.4, 20.2, 32.4])
        for phase in phases:
            self.assertAlmostEqual(phase["rate"], 500 / phase["seconds"], delta=0.01 * phase["rate"])

    def test_flow_leaves_runs(self):
        self.run_it("flow", "--quick")
        runs = [json.loads(file.read_text()) for file in (self.directory / "runs").glob("*.json")]
        self.assertEqual(sorted(run["title"] for run in runs), ["flow, min_eta", "flow, round_robin"])
        for run in runs:
            self.assertEqual(len(run["records"]), 1_000)
            self.assertEqual({record["instance"] for record in run["records"]}, {f"instance{n}" for n in range(1, 5)})

    def test_algorithms_at_one_rate(self):
        cells = self.run_it("algorithms", "--quick")["figures"]["cells"]
        self.assertEqual({cell["setting"] for cell in cells}, {"equal", "slow", "failing"})
        self.assertEqual({cell["algorithm"] for cell in cells}, {"round_robin", "least_connections", "adaptive"})
        rates = [cell["requests"] / 2 for cell in cells]
        self.assertTrue(all(abs(rate - 500) < 60 for rate in rates), f"not the offered rate: {rates}")

    def test_ctrl_c_leaves_nothing(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with subprocess.Popen(self.command("a-3"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=self.environment()) as run:
                try:
                    rig.until(lambda: len(self.left()) > 4, "balancer and replicas run")
                    os.kill(run.pid, number)
                    said = run.communicate(timeout=20)[1].decode()
                finally:
                    run.kill()
            self.assertEqual(run.returncode, 2, said)
            self.assertIn("interrupted", said)
            rig.until(lambda: not self.left(), "nothing is left")

    def test_a_missing_program_is_named_with_the_remedy(self):
        run = subprocess.run(
            self.command("a-1", "--ours", self.directory / "nobody"), capture_output=True, text=True, timeout=20,
            env=self.environment(), check=False,
        )
        self.assertEqual(run.returncode, 2)
        self.assertTrue(re.search(r"nobody is not there: cargo build -p load-balancer .*--ours PATH", run.stderr), run.stderr)


if __name__ == "__main__":
    unittest.main()
