"""What stays open: server-sent events through curl, and a WebSocket through a client of its own."""

import contextlib
import os
import time

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import rig
from case import Case
from clients import curl_line, start

MIB = 1 << 20


class Events(Case):
    def test_events_come_one_at_a_time(self):
        pause, count = 0.3, 4
        client = start(curl_line("-N", self.url(f"/sse?n={count}&every_ms={int(pause * 1000)}")))
        self.addCleanup(client.kill)
        arrivals = [time.monotonic() for line in client.stdout if line.startswith("id: ")]
        self.assertEqual(client.wait(10), 0)
        self.assertEqual(len(arrivals), count)
        # Held back and sent together, they would come at once. One gap may be short: this process may have had to wait.
        gaps = sorted(later - earlier for earlier, later in zip(arrivals, arrivals[1:]))
        self.assertGreater(gaps[1], pause / 3, gaps)

    def test_a_client_that_leaves_is_noticed(self):
        client = start(curl_line("-N", self.url("/sse?n=1000&every_ms=50")))
        self.addCleanup(client.kill)
        self.addCleanup(client.stdout.close)
        self.assertTrue(client.stdout.readline())
        client.kill()
        client.wait()
        rig.until(lambda: self.balancer.metrics().sum("lb_requests_in_flight") == 0, "the request given up")


class WebSocket(Case):
    def connected(self, path="/ws"):
        url = self.url(path).replace("http:", "ws:")
        return connect(url, max_size=4 * MIB, proxy=None, open_timeout=10, close_timeout=10)

    def test_text_binary_and_large_messages_come_back(self):
        with self.connected() as socket:
            for message in ("Grüße", bytes(range(256)), "", os.urandom(MIB), "x" * MIB):
                socket.send(message)
                self.assertTrue(socket.recv(timeout=10) == message, f"{len(message)} {type(message).__name__}")
            self.assertTrue(socket.ping().wait(10), "no pong")
            socket.close(1000, "done")
            self.assertEqual((socket.close_code, socket.close_reason), (1000, "done"))
        metrics = rig.until(self.over, "the tunnel closed and counted")
        self.assertEqual(metrics.by("lb_requests_total", "code"), {"101": 1})

    def test_many_at_once_do_not_mix(self):
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(self.connected()) for _ in range(20)]
            for number, socket in enumerate(sockets):
                socket.send(f"message {number}")
            for number, socket in enumerate(sockets):
                self.assertEqual(socket.recv(timeout=10), f"message {number}")

    def test_a_path_without_websocket_is_no_upgrade(self):
        with self.assertRaises(InvalidStatus) as refused, self.connected("/home"):
            pass
        self.assertEqual(refused.exception.response.status_code, 200)

    def test_a_backend_that_dies_closes_the_socket(self):
        with self.connected() as socket:
            socket.send("hello")
            socket.recv(timeout=10)
            picks = self.balancer.metrics().by("lb_decisions_total", "backend")
            for name in picks:
                self.backends[name].kill()
            with self.assertRaises(ConnectionClosed, msg="the client was left waiting"):
                socket.recv(timeout=10)

    def over(self):
        metrics = self.balancer.metrics()
        return metrics if metrics.sum("lb_requests_in_flight") == 0 else None

