"""traffic-lab's tester against the real balancer: what it sends, what it keeps, what it says, and what it adds."""

import contextlib
import itertools
import json
import os
import pty
import re
import signal
import statistics
import subprocess
import unittest

import clients
import rig
from case import Case

WITHIN = 120


def command(*arguments):
    return list(map(str, [rig.PROGRAMS / "traffic-lab", "tester", *arguments]))


def run(*arguments, code=0):
    """What the tester says, on both streams; it must end with `code`."""
    done = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=WITHIN, env=rig.environment(), check=False)
    said = done.stdout + done.stderr
    assert done.returncode == code, f"{command(*arguments)}: exit {done.returncode}, not {code}\n{said}"
    return said


class Tester(Case):
    alone = "sends by the clock, and ten thousand at once"
    algorithm = "round_robin"

    def send(self, *arguments, code=0):
        """The kept run, and what was said."""
        said = run(*arguments, "--out", self.directory, "--id", "run", code=code)
        file = self.directory / "run.json"
        self.assertIn(f"kept in {file}", said)
        kept = json.loads(file.read_text())
        file.unlink()
        return kept, said

    def test_a_closed_loop_keeps_who_answered_and_when(self):
        kept, said = self.send(self.url("/bench?slow=1"), 600, "--concurrency", 20, "--title", "slow ones")
        self.assertEqual((kept["summary"]["requests"], kept["summary"]["failed"]), (600, 0))
        self.assertEqual((kept["title"], kept["sending"]["loop"], kept["sending"]["concurrency"]), ("slow ones", "closed", 20))
        picks = self.assert_counted(600)
        self.assertEqual(kept["summary"]["instances"], picks)
        # One machine, one clock: the estimate must say so within its own bound, and records be in order by it.
        clock = kept["clock"]
        self.assertLess(abs(clock["ahead_s"]), clock["within_s"] + 0.001, clock)
        self.assertLess(clock["within_s"], 0.02, clock)
        for record in kept["records"]:
            times = [record[at] for at in ("req_snd_time", "req_rcv_time", "resp_snd_time", "resp_rcv_time")]
            self.assertTrue(all(b - a > -0.001 for a, b in zip(times, times[1:])), record)
        for part in ("600 good, 0 failed", "p99.9", "backend1", "the server's clock is ahead"):
            self.assertIn(part, said)

    def test_an_open_loop_sends_by_the_clock(self):
        kept, _ = self.send(self.url("/home"), 400, "--rate", 400, "--arrivals", "constant", "--seed", 9)
        self.assertEqual(kept["summary"]["failed"], 0)
        due = [record["req_due_time"] for record in kept["records"]]
        gaps = [b - a for a, b in zip(due, due[1:])]
        self.assertLess(max(abs(gap - 1 / 400) for gap in gaps), 1e-4)
        self.assertEqual(kept["sending"], {**kept["sending"], "loop": "open_constant", "rate": 400.0, "seed": 9})
        self.assert_even_instances(kept)
        kept, _ = self.send(self.url("/home"), "--rate", 300, "--duration", "2s", "--algo", "random")
        self.assertEqual((kept["sending"]["loop"], kept["sending"]["algorithm"]), ("open_poisson", "random"))
        # Poisson: six standard deviations around 600.
        self.assertAlmostEqual(kept["summary"]["requests"], 600, delta=6 * 600**0.5)
        picks = self.balancer.metrics().sum("lb_decisions_total", algorithm="random")
        self.assertEqual(picks, kept["summary"]["requests"])

    def assert_even_instances(self, kept):
        counts = kept["summary"]["instances"]
        self.assertEqual(sorted(counts), sorted(self.backends))
        self.assertLess(max(counts.values()) - min(counts.values()), 0.05 * sum(counts.values()), counts)

    def test_method_headers_body_and_keys_arrive(self):
        body = self.directory / "body.bin"
        body.write_bytes(b"x" * 300_000)
        url = self.url("/echo?id={random}")
        kept, _ = self.send(url, 9, "--body-file", body, "--method", "PUT", "--header", "x-name: n{n}", "--no-keep-alive")
        self.assertEqual((kept["summary"]["statuses"], kept["sending"]["method"]), ({"200": 9}, "PUT"))
        self.assertFalse(kept["sending"]["keep_alive"])
        # One at a time: beyond its bounded load a key moves on.
        hashed = (self.url("/request?request_id={random}"), 300, "--algo", "consistent_hash", "--concurrency", 1)
        kept, _ = self.send(*hashed)
        keys = [record["key"] for record in kept["records"]]
        self.assertTrue(all(re.fullmatch(r"[1-9]\d{5}", key) for key in keys))
        self.assertGreater(len(set(keys)), 290)
        where = {record["key"]: record["instance"] for record in kept["records"]}
        again, _ = self.send(*hashed)
        self.assertEqual(where, {record["key"]: record["instance"] for record in again["records"]})
        for backend in self.backends.values():
            self.assertGreater(backend.answered(), 0)

    def test_ten_thousand_at_once(self):
        kept, said = self.send(self.url("/home"), 10_000, "--concurrency", 10_000, "--timeout", "60s")
        self.assertEqual((kept["summary"]["requests"], kept["summary"]["failed"]), (10_000, 0), said)
        self.assert_counted(10_000)
        changes = [change for record in kept["records"] for change in ((record["req_snd_time"], 1), (record["resp_rcv_time"], -1))]
        # The first are answered while the last are being connected.
        self.assertGreater(max(itertools.accumulate(change for _, change in sorted(changes))), 7_000)

    def test_failures_are_records(self):
        kept, said = self.send(f"http://127.0.0.1:{rig.free_port()}/", 250, code=1)
        self.assertEqual(kept["summary"]["errors"], {"refused": 250})
        self.assertTrue(all(record["status"] is None for record in kept["records"]))
        self.assertIn("0 good, 250 failed", said)
        kept, _ = self.send(self.url("/nowhere"), 5, code=1)
        self.assertEqual(kept["summary"]["statuses"], {"404": 5})
        kept, _ = self.send(self.url("/bench500"), 5, "--timeout", "100ms", code=1)
        self.assertEqual(kept["summary"]["errors"], {"timeout": 5})

    def test_a_backend_killed_in_the_middle(self):
        backend = self.backends["backend1"]
        arguments = (f"http://{backend.address}/bench10", "--rate", 400, "--arrivals", "constant", "--duration", "3s")
        tester = clients.start(command(*arguments, "--out", self.directory, "--id", "killed"))
        self.addCleanup(tester.kill)
        rig.until(lambda: backend.answered() > 200, "traffic is under way")
        backend.kill()
        said, _ = tester.communicate(timeout=WITHIN)
        self.assertEqual(tester.returncode, 1, said)
        kept = json.loads((self.directory / "killed.json").read_text())
        summary = kept["summary"]
        self.assertEqual(summary["requests"], 1200, "the clock goes on whatever happens")
        self.assertGreater(summary["errors"]["refused"], 100, summary)
        self.assertLessEqual(set(summary["errors"]), {"refused", "reset", "closed"}, summary)
        self.assertEqual(sum(summary["errors"].values()) + summary["statuses"]["200"], 1200)

    def test_an_interrupted_run_is_kept(self):
        arguments = (self.url("/bench10"), "--duration", "10m", "--concurrency", 5)
        tester = clients.start(command(*arguments, "--out", self.directory, "--id", "interrupted"))
        self.addCleanup(tester.kill)
        rig.until(lambda: self.balancer.metrics().sum("lb_requests_total") > 50, "traffic is under way")
        tester.send_signal(signal.SIGINT)
        said = clients.report(tester)
        kept = json.loads((self.directory / "interrupted.json").read_text())
        self.assertIn(f"{kept['summary']['requests']} good, 0 failed", said)

    def test_a_bar_on_a_terminal_and_nowhere_else(self):
        arguments = (self.url("/bench10"), "--duration", "1s", "--concurrency", 5, "--out", self.directory)
        self.assertNotIn(" ended, ", run(*arguments))
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        done = subprocess.run(command(*arguments), stdout=subprocess.PIPE, stderr=theirs, timeout=WITHIN, check=True)
        os.close(theirs)
        bar = os.read(ours, 65536).decode()
        self.assertRegex(bar, r"\[#+-+\] +\d+ %  \d+ ended, 0 failed, \d+/s")
        self.assertNotIn(b" ended, ", done.stdout)

    def test_what_cannot_be_sent_or_kept_is_said_before_the_first_request(self):
        (self.directory / "taken.json").write_text("")
        for arguments, says in (
            (("https://127.0.0.1/", 1), "TLS is not spoken"),
            (("127.0.0.1:5000", 1), "such as http://"),
            ((self.url("/"), 1, "--rate", 0), "the rate is 0"),
            ((self.url("/"), 1, "--out", "/proc/nowhere"), "/proc/nowhere"),
            ((self.url("/"), 1, "--out", self.directory, "--id", "taken"), "is there already"),
            ((self.url("/"), 2_000_000, "--concurrency", 1_000_001), "at most 1000000"),
            ((self.url("/"), "--duration", "0s"), "the duration is 0"),
            ((self.url("/"),), "it would never end"),
        ):
            self.assertIn(says, run(*arguments, code=2))
        self.assertEqual(self.balancer.metrics().sum("lb_requests_total"), 0)


class Precision(unittest.TestCase):
    """Beside wrk: the same number of connections to the same backend, in turn.

    Other work runs on the machine, and one disturbance is a p99. So the three take precedence where that is allowed, rounds
    are short, the quietest of each are compared, and there are more of them until these agree: a tester that adds to what
    it measures adds to every round. The figures are printed: with TESTS_REAL_PROGRAMS at release builds and
    TESTER_ROUNDS=30 they are those of tests-real/README.md."""

    alone = "compares p99"
    SECONDS = 3
    RELEASED = rig.PROGRAMS.name == "release"
    # About 5,000 requests a second when released. A build that is hardly optimized would fill a slow machine with them, and
    # then p99 tells of the queue for the processor.
    CONNECTIONS = 60 if RELEASED else 20
    ROUNDS = int(os.environ.get("TESTER_ROUNDS", "4"))
    MOST_ROUNDS = 3 * ROUNDS
    # What the tester may add to the p99 that wrk sees: the median of the rounds' differences when released, the difference
    # of the quietest rounds otherwise.
    ADDED_RELEASED_MS = 0.05
    ADDED_MS = 0.5

    def setUp(self):
        # Niceness is not enough where the kernel shares a core among sessions.
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
            self.addCleanup(os.sched_setscheduler, 0, os.SCHED_OTHER, os.sched_param(0))
        self.directory = rig.directory(self.id())
        self.backend = rig.Backend(self.directory, "backend1")
        self.addCleanup(self.backend.stop)

    def test_p99_is_close_to_that_of_wrk(self):
        url = f"http://{self.backend.address}/bench10"
        most = self.ADDED_RELEASED_MS if self.RELEASED else self.ADDED_MS
        rounds = []
        while len(rounds) < self.ROUNDS or (self.added(rounds) >= most and len(rounds) < self.MOST_ROUNDS):
            rounds.append((self.by_wrk(url), self.by_tester(url, len(rounds))))
        for name, of in (("median", statistics.median), ("least", min)):
            wrk, tester = (of(p99 for p99, _ in seen) for seen in zip(*rounds))
            rates = "/s, ".join(f"{statistics.median(rate for _, rate in seen):.0f}" for seen in zip(*rounds))
            print(f"p99, {name} of {len(rounds)}: wrk {wrk:.3f} ms, tester {tester:.3f} ms, {tester - wrk:+.3f} ms ({rates}/s)")
        print(f"compared: {self.added(rounds):+.3f} ms")
        self.assertLess(self.added(rounds), most, rounds)

    def added(self, rounds):
        """What the tester adds to p99, in ms."""
        if self.RELEASED:
            return statistics.median(tester - wrk for (wrk, _), (tester, _) in rounds)
        wrk, tester = (min(p99 for p99, _ in seen) for seen in zip(*rounds))
        return tester - wrk

    def by_wrk(self, url):
        """p99 in ms, and requests a second."""
        text = clients.run([*clients.wrk_line(url, self.SECONDS, self.CONNECTIONS), "--latency"]).decode()
        value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", text).groups()
        rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])
        return float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit], rate

    def by_tester(self, url, number):
        """The same."""
        name = f"round-{number}"
        run(url, "--duration", f"{self.SECONDS}s", "--concurrency", self.CONNECTIONS, "--out", self.directory, "--id", name)
        kept = json.loads((self.directory / f"{name}.json").read_text())
        # wrk's clock starts when a connection is there, ours before: the first request of each is left out.
        later = kept["records"][self.CONNECTIONS :]
        times = sorted(record["resp_rcv_time"] - record["req_snd_time"] for record in later)
        return times[int(0.99 * len(times))] * 1000, kept["summary"]["throughput"]


if __name__ == "__main__":
    unittest.main()
