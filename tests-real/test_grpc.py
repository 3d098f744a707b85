"""gRPC as people use it: a client and a server of grpcio, each of the four kinds of calls, through the balancer, which asks
grpcio's own health service how the server is.
"""

import threading
import unittest
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

import rig

SERVICE = "test.Echo"
SETTINGS = """
[health]
kind = "grpc"
service = "test.Echo"
interval = "200ms"
edge_interval = "50ms"
[timeouts]
total = "3s"
body_idle = "3s"
"""


def words(messages):
    for message in messages:
        yield from message.split()


class Server:
    """Answers each kind of call; messages are bytes, so that no protoc is needed."""

    def __init__(self, name, checked=True):
        self.name, self.cancelled, self.left = name, threading.Event(), None
        pool = futures.ThreadPoolExecutor(max_workers=8)
        self.server = grpc.server(pool)
        handlers = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Down": grpc.unary_stream_rpc_method_handler(self.down),
            "Up": grpc.stream_unary_rpc_method_handler(self.up),
            "Both": grpc.stream_stream_rpc_method_handler(self.both),
            "Fails": grpc.unary_unary_rpc_method_handler(self.fails),
            "Waits": grpc.unary_unary_rpc_method_handler(self.waits),
        }
        self.server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
        self.health = health.HealthServicer()
        self.say("SERVING")
        if checked:
            health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def say(self, status):
        self.health.set(SERVICE, health_pb2.HealthCheckResponse.ServingStatus.Value(status))

    def unary(self, message, context):
        context.set_trailing_metadata([("x-server", self.name)])
        return message[::-1]

    def down(self, message, context):
        yield from message.split()

    def up(self, messages, context):
        return b" ".join(messages)

    def both(self, messages, context):
        yield from words(messages)

    def fails(self, message, context):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not 100 % — today")

    def waits(self, message, context):
        self.left = context.time_remaining()
        context.add_callback(self.cancelled.set)
        self.cancelled.wait(20)
        return b""


def reasons(balancer):
    """Why checks took servers out, the last one at the end."""
    return [fact["reason"] for fact in balancer.facts() if fact["kind"] == "unhealthy"]


class Grpc(unittest.TestCase):
    def setUp(self):
        self.directory = rig.directory(self.id())
        self.server, self.balancer = self.serving("one", checked=True)
        rig.until(lambda: self.balancer.eligible() == 1, "the server passes its check")
        self.channel = grpc.insecure_channel(self.balancer.traffic.removeprefix("http://"), options=[("grpc.enable_http_proxy", 0)])
        self.addCleanup(self.channel.close)

    def serving(self, name, checked):
        """A server, with a health service if it is to be `checked`, and a balancer before it."""
        server = Server(name, checked)
        self.addCleanup(server.server.stop, None)
        file = self.directory / f"{name}.toml"
        file.write_text(
            f'workers = 1\n[listen]\ntraffic = "127.0.0.1:0"\nadmin = "127.0.0.1:0"\n{SETTINGS}\n'
            f'[pool]\nprotocol = "http2"\n[[pool.backend]]\nname = "{name}"\naddress = "{server.address}"\n'
        )
        balancer = rig.Serving(self.directory, file, name)
        self.addCleanup(balancer.stop)
        return server, balancer

    def test_a_server_is_asked_by_its_own_health_service(self):
        for status in ("NOT_SERVING", "SERVICE_UNKNOWN", "UNKNOWN"):
            self.server.say(status)
            rig.until(lambda: self.balancer.eligible() == 0, f"{status} takes it out")
            self.assertEqual(reasons(self.balancer)[-1], status)
            self.server.say("SERVING")
            rig.until(lambda: self.balancer.eligible() == 1, "it is back")
        self.assertEqual(self.method("unary_unary", "Unary")(b"abc", timeout=10), b"cba")
        _, bare = self.serving("bare", checked=False)
        why = rig.until(lambda: reasons(bare), "a check that fails")
        self.assertRegex(why[0], "UNIMPLEMENTED: it has no grpc.health.v1.Health")

    def method(self, kind, name):
        return getattr(self.channel, kind)(f"/{SERVICE}/{name}")

    def test_every_kind_of_call(self):
        answer, call = self.method("unary_unary", "Unary").with_call(b"abc", timeout=10)
        self.assertEqual((answer, dict(call.trailing_metadata())["x-server"]), (b"cba", "one"))
        self.assertEqual(list(self.method("unary_stream", "Down")(b"a b c", timeout=10)), [b"a", b"b", b"c"])
        self.assertEqual(self.method("stream_unary", "Up")(iter([b"x", b"y"]), timeout=10), b"x y")
        large = bytes(3_000_000)
        self.assertEqual(self.refused("Unary", large).code(), grpc.StatusCode.RESOURCE_EXHAUSTED, "limits.body_bytes")
        # Both ways, one message after the other: nothing is held back.
        ours, theirs = [b"one", b"two three"], [[b"one"], [b"two", b"three"]]
        turn = threading.Semaphore(1)

        def messages():
            for message in ours:
                self.assertTrue(turn.acquire(timeout=10))
                yield message

        answers = self.method("stream_stream", "Both")(messages(), timeout=10)
        for expected in theirs:
            self.assertEqual([next(answers) for _ in expected], expected)
            turn.release()
        self.assertEqual(list(answers), [])
        metrics = self.balancer.metrics()
        self.assertEqual(metrics.by("lb_upstream_connects_total", "result").get("ok"), 1)

    def refused(self, name, message=b"x", **options):
        with self.assertRaises(grpc.RpcError) as caught:
            self.method("unary_unary", name)(message, **{"timeout": 10, **options})
        return caught.exception

    def test_statuses_deadlines_and_cancellation(self):
        error = self.refused("Fails")
        self.assertEqual((error.code(), error.details()), (grpc.StatusCode.FAILED_PRECONDITION, "not 100 % — today"))
        self.assertEqual(self.refused("Nothing").code(), grpc.StatusCode.UNIMPLEMENTED)
        # The client's deadline reaches the server, and ends there what it began.
        self.assertEqual(self.refused("Waits", timeout=0.5).code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        self.assertTrue(self.server.cancelled.wait(10), "the server hears of the deadline")
        self.assertLess(self.server.left, 0.6)
        # A client that gives up.
        self.server.left = None
        self.server.cancelled.clear()
        call = self.method("unary_unary", "Waits").future(b"x", timeout=10)
        rig.until(lambda: self.server.left is not None, "the call under way")
        call.cancel()
        self.assertTrue(self.server.cancelled.wait(10), "the server hears of the cancellation")
        # Without a deadline the balancer's own total holds.
        self.server.cancelled.clear()
        error = self.refused("Waits", timeout=None)
        self.assertEqual((error.code(), error.details()), (grpc.StatusCode.DEADLINE_EXCEEDED, "Backend timeout"))
        # And with nobody there.
        self.server.server.stop(None).wait()
        self.assertEqual(self.refused("Unary").code(), grpc.StatusCode.UNAVAILABLE)
