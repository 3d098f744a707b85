"""Spans of the real program, as receivers of another make get them: OTLP over HTTP and over gRPC."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_service
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_service_grpc

import rig
from case import Case
from clients import curl

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SERVER, CLIENT = 2, 3
# Where OTLP over HTTP has traces; the configuration names the host alone.
PATH = "/v1/traces"


class Receiver:
    """Keeps every span."""

    def __init__(self):
        self.spans, self.lock = [], threading.Lock()

    def take(self, request):
        with self.lock:
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    self.spans.extend(scope.spans)
        return trace_service.ExportTraceServiceResponse()

    def those_of(self, trace, count):
        """The spans of a trace, once there are `count`."""
        def found():
            with self.lock:
                spans = [span for span in self.spans if span.trace_id.hex() == trace]
            return spans if len(spans) >= count else None
        return rig.until(found, f"{count} spans of {trace}")


class Http(Receiver):
    def __init__(self):
        super().__init__()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                good = self.path == PATH and self.headers["content-type"] == "application/x-protobuf"
                answer = receiver.take(trace_service.ExportTraceServiceRequest.FromString(body)) if good else None
                self.send_response(200 if good else 404)
                self.end_headers()
                self.wfile.write(answer.SerializeToString() if good else b"")

            def log_message(self, *_):
                """Nothing: the tests say what came."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Grpc(Receiver, trace_service_grpc.TraceServiceServicer):
    def __init__(self):
        super().__init__()
        self.server = grpc.server(ThreadPoolExecutor(2))
        trace_service_grpc.add_TraceServiceServicer_to_server(self, self.server)
        self.endpoint = f"http://127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def Export(self, request, _context):
        return self.take(request)

    def stop(self):
        self.server.stop(None).wait()


def said(span):
    """A span's attributes as text."""
    values = ((pair.key, pair.value) for pair in span.attributes)
    return {key: str(getattr(value, value.WhichOneof("value"))) for key, value in values}


class OverHttp(Case):
    receiver, protocol = Http, "http"

    def setUp(self):
        self.receiver = self.receiver()
        self.addCleanup(self.receiver.stop)
        self.log = rig.directory(self.id() + ".log") / "access.log"
        self.settings = f"""\
[traces]
endpoint = "{self.receiver.endpoint}"
protocol = "{self.protocol}"
parent = "always"
sample = 0
[access_log]
format = "json"
path = "{self.log}"
"""
        super().setUp()

    def test_spans_of_one_request_have_the_right_parents(self):
        """The client's span, the balancer's two, and what the backend was told make one chain."""
        header = f"traceparent: 00-{TRACE}-{PARENT}-01"
        told = json.loads(curl("-H", header, self.url("/echo")))
        spans = self.receiver.those_of(TRACE, 2)
        self.assertEqual(len(spans), 2)
        (server,) = [span for span in spans if span.kind == SERVER]
        (client,) = [span for span in spans if span.kind == CLIENT]
        self.assertEqual(server.parent_span_id.hex(), PARENT)
        self.assertEqual(client.parent_span_id, server.span_id)
        self.assertEqual(told["headers"]["traceparent"], [f"00-{TRACE}-{client.span_id.hex()}-01"])
        self.assertNotIn("tracestate", told["headers"])
        self.assertLessEqual(server.start_time_unix_nano, client.start_time_unix_nano)
        self.assertGreaterEqual(server.end_time_unix_nano, client.end_time_unix_nano)
        attributes = said(server)
        self.assertEqual((server.name, attributes["url.path"], attributes["lb.attempts"]), ("GET", "/echo", "1"))
        self.assertEqual(said(client)["lb.backend"], attributes["lb.backend"])
        (line,) = rig.until(lambda: [json.loads(line) for line in self.log.read_text().splitlines()], "a line of the log")
        self.assertEqual((line["trace_id"], line["request_id"]), (TRACE, attributes["lb.request_id"]))
        def counted():
            return self.balancer.metrics().by("lb_trace_spans_total", "result")
        # They are counted when the receiver has answered.
        rig.until(lambda: counted() == {"exported": 2}, "the spans counted")

    def test_a_retry_is_a_second_span(self):
        dead = self.backends["backend1"]
        # The first one answers nothing any more, and health checks have not noticed.
        dead.kill()
        header = f"traceparent: 00-{TRACE}-{PARENT}-01"
        def retried():
            curl("-H", header, "-H", "x-request-id: one", self.url("/echo?algo=round_robin"))
            return any(said(span).get("http.request.resend_count") == "1" for span in self.receiver.spans)
        rig.until(retried, "a retry")
        with self.receiver.lock:
            spans = list(self.receiver.spans)
        again = next(span for span in spans if said(span).get("http.request.resend_count") == "1")
        family = [span for span in spans if span.parent_span_id == again.parent_span_id and span.kind == CLIENT]
        first = next(span for span in family if span is not again)
        self.assertEqual((said(first)["lb.backend"], said(again)["lb.decision.reason"]), ("backend1", "retry"))
        self.assertEqual(said(first)["error.type"], "upstream_connect")
        self.assertEqual(len(family), 2)


class OverGrpc(OverHttp):
    receiver, protocol = Grpc, "grpc"


if __name__ == "__main__":
    import unittest

    unittest.main()
