"""`load-balancer demo`: what a newcomer runs first. It works, stops cleanly, and never leaves anything behind.

Its ports are fixed (5000 to 5006, 8050 and 9901), so a machine where one is in use fails these tests, and they say which.
"""

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import unittest

import rig
from clients import curl, curl_line

TRAFFIC = "http://127.0.0.1:5000"
ADMIN = "http://127.0.0.1:9901"
DASHBOARD = "http://127.0.0.1:8050"
PORTS = (*range(5000, 5007), 8050, 9901)


def listening():
    return rig.listening(PORTS)


class Demo(unittest.TestCase):
    shares = "ports"

    def setUp(self):
        self.assertEqual(listening(), [], "ports of the demo are in use by something else")
        self.directory = rig.directory(self.id())

    def start(self):
        demo = rig.Process(self.directory / "demo", rig.PROGRAMS / "load-balancer", "demo")
        self.addCleanup(self.end, demo)
        return demo

    def end(self, demo):
        """Stops it, and its backends should it leave them behind: that failed a test, but must not fail the next."""
        left = rig.children(demo.popen.pid)
        demo.stop()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def started(self):
        demo = self.start()
        demo.said(r"Ctrl-C stops everything", demo.out)
        return demo

    def test_it_balances_over_six_backends_and_says_where(self):
        demo = self.started()
        said = demo.out.read_text()
        for port in PORTS:
            self.assertIn(f"http://127.0.0.1:{port}", said)
        names = set(re.findall(r"Hello from (\w+),", curl("--fail", *[f"{TRAFFIC}/?algo=round_robin"] * 24)))
        self.assertEqual(len(names), 6, names)
        self.assertEqual(rig.get(f"{ADMIN}/ready"), (200, "ready: 6 eligible backends\n"))

    def test_every_command_it_suggests_works(self):
        demo = self.started()
        commands = re.findall(r"^ +curl (?:-s )?(.*?)(?: +[|#].*)?$", demo.out.read_text(), re.MULTILINE)
        self.assertGreaterEqual(len(commands), 4)
        for command in commands:
            curl("--fail", *shlex.split(command))

    def test_ctrl_c_sigterm_and_a_closed_terminal_stop_everything(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            demo = self.started()
            self.assertEqual(listening(), list(PORTS))
            demo.signal(number)
            self.assertEqual(demo.wait(), 0)
            self.assertEqual(listening(), [])
            demo.out.unlink()

    def test_even_a_kill_leaves_no_backend_behind(self):
        demo = self.started()
        demo.signal(signal.SIGKILL)
        demo.wait()
        rig.until(lambda: not listening(), "every backend ended")

    def test_a_stop_while_it_starts_leaves_nothing(self):
        demo = self.start()
        rig.until(listening, "the first backend started")
        demo.signal(signal.SIGTERM)
        self.assertEqual(demo.wait(), 0)
        self.assertEqual(listening(), [])

    def test_a_taken_port_is_named_and_nothing_is_left(self):
        for port in (5000, 9901):
            with contextlib.closing(socket.create_server(("127.0.0.1", port))):
                demo = self.start()
                self.assertEqual(demo.wait(), 1)
                self.assertIn(f"127.0.0.1:{port}", demo.err.read_text())
                self.assertEqual(listening(), [port])
                demo.err.unlink()

    def test_the_dashboard_is_beside_it_and_shows_this_balancer(self):
        demo = self.started()
        self.assertIn(f"Dashboard: {DASHBOARD} ", demo.out.read_text())
        status, page = rig.get(f"{DASHBOARD}/")
        self.assertEqual(status, 200)
        self.assertIn("Request Flow for multiple instances of service", page)
        curl("--fail", f"{TRAFFIC}/home")
        # A stream that does not end by itself: what comes in two seconds.
        line = curl_line("--fail", "--max-time", 2, f"{DASHBOARD}/api/live")
        live = subprocess.run(line, capture_output=True, text=True, check=False).stdout
        self.assertIn(f'"admin":"{ADMIN}","up":true', live)
        self.assertRegex(live, r'event: request\ndata: {.*"candidates":')
        self.assertEqual(len(set(re.findall(r'"name":"(backend\d)"', live))), 6)

    def test_a_taken_port_of_the_dashboard_is_named_and_the_demo_goes_on(self):
        with contextlib.closing(socket.create_server(("127.0.0.1", 8050))):
            demo = self.started()
            self.assertIn("The dashboard is not there: cannot listen on 127.0.0.1:8050", demo.out.read_text())
            self.assertEqual(rig.get(f"{ADMIN}/ready"), (200, "ready: 6 eligible backends\n"))
            demo.signal(signal.SIGTERM)
            self.assertEqual(demo.wait(), 0)
            self.assertEqual(listening(), [8050])

    def test_a_taken_port_of_a_backend_is_passed_over(self):
        with contextlib.closing(socket.create_server(("127.0.0.1", 5003))):
            demo = self.started()
            said = demo.out.read_text()
            self.assertNotIn("http://127.0.0.1:5003", said)
            self.assertIn("http://127.0.0.1:5007", said)
            self.assertEqual(rig.get(f"{ADMIN}/ready"), (200, "ready: 6 eligible backends\n"))
