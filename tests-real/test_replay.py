"""A run that was measured, replayed in the simulator: the same algorithm is predicted near what it was, the same command
writes the same bytes, and every recorded pick comes out again."""

import json
import subprocess
import unittest

import rig
from case import Case

LAB = rig.PROGRAMS / "traffic-lab"
ALGORITHMS = (
    "round_robin", "weighted_round_robin", "least_connections", "ip_hash", "power_of_two", "consistent_hash", "adaptive",
    "least_response_time", "min_eta", "random",
)
# Each backend works on two requests at once: mean 8.3 ms each, so three of them do some 720 a second.
SLOTS = 2
RATE = 400
REQUESTS = 3000


def lab(*arguments, code=0):
    """What traffic-lab says, having ended with `code`."""
    done = subprocess.run([LAB, *map(str, arguments)], capture_output=True, text=True, timeout=120, env=rig.environment())
    assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout if code == 0 else done.stderr


class Replay(Case):
    alone = "compares measured latencies with predicted ones"
    algorithm = "round_robin"
    backend_flags = ("--fault",)
    settings = '[decisions]\nrecord = "all"\nkeep = 5000\n'

    def measured(self, algorithm):
        """The file of a run under `algorithm`, over backends with a few slots."""
        for backend in self.backends.values():
            backend.fault(capacity=SLOTS)
        url = self.url("/bench?slow=1&request_id={random:200}")
        name = f"measured-{algorithm}"
        lab("tester", url, REQUESTS, "--rate", RATE, "--algo", algorithm, "--id", name, "--out", self.directory)
        return self.directory / f"{name}.json"

    def predicted(self, run, algorithm, out):
        return json.loads((out / f"{run.stem}-replayed-{algorithm}.json").read_text())

    def test_the_same_algorithm_is_predicted_as_it_was_measured(self):
        run = self.measured("round_robin")
        was = json.loads(run.read_text())
        self.assertEqual((was["summary"]["requests"], was["summary"]["failed"]), (REQUESTS, 0))
        out = self.directory / "first"
        text = lab("replay", run, "--algo", "round_robin,least_connections", "--slots", SLOTS, "--out", out)
        print(text)
        same = self.predicted(run, "round_robin", out)["summary"]
        self.assertEqual(same["instances"].keys(), was["summary"]["instances"].keys())
        for quantile in ("p50", "p99"):
            off = same["service_ms"][quantile] / was["summary"]["service_ms"][quantile] - 1
            self.assertLess(abs(off), 0.25, f"{quantile}\n{text}")
        self.assertIn("predicted over measured", text)
        # Who sees what is in flight does not queue behind a long request while another backend is free.
        better = self.predicted(run, "least_connections", out)["summary"]["service_ms"]
        self.assertLess(better["p99"], same["service_ms"]["p99"])
        again = self.directory / "again"
        lab("replay", run, "--algo", "round_robin,least_connections", "--slots", SLOTS, "--out", again)
        files = sorted(path.name for path in out.iterdir())
        self.assertEqual(len(files), 4, files)
        for name in files:
            self.assertEqual((out / name).read_bytes(), (again / name).read_bytes(), name)
        # What is predicted is a run like any other.
        lab("replay", out / f"{run.stem}-replayed-round_robin.json", "--algo", "random", "--out", again)

    def test_every_recorded_pick_comes_out_again(self):
        for algorithm in ALGORITHMS:
            lab(
                "tester", self.url("/home?request_id={n}"), 50, "--concurrency", 8, "--algo", algorithm,
                "--out", self.directory,
            )
        records = self.directory / "decisions.json"
        url = f"{self.balancer.admin}/decisions?what=requests&format=json&exact=true&last=500"
        code, text = rig.get(url)
        self.assertEqual(code, 200, text)
        records.write_text(text)
        rows = [line.split() for line in lab("replay", records).splitlines()[1:]]
        self.assertEqual({row[0]: row[1:] for row in rows}, {name: ["50", "0", "0"] for name in ALGORITHMS})
        # Somebody else's pick is found out.
        told = json.loads(text)
        attempt = told["requests"][0]["attempts"][0]
        attempt["record"]["picked"] = (attempt["record"]["picked"] + 1) % 3
        records.write_text(json.dumps(told))
        self.assertIn("1 picks came out differently", lab("replay", records, code=1))

    def test_what_cannot_be_replayed_says_why(self):
        file = self.directory / "file.json"
        for text, said in (
            ("", "the file is empty"),
            ('{"a": 1}', "not a run of traffic-lab"),
            ("[]", "has no records"),
            ('{"requests": [{"request_id": "x", "epoch": 1, "attempts": [{"backend": "b"}]}]}', "exact=true"),
        ):
            file.write_text(text)
            flags = [] if "requests" in text else ["--algo", "adaptive"]
            self.assertIn(said, lab("replay", file, *flags, code=1))
        self.assertIn("no algorithm is called `fastest`; there are round_robin", lab("replay", file, "--algo", "fastest", code=1))


if __name__ == "__main__":
    unittest.main()
