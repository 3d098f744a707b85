"""The table of hostile requests through the balancer to servers of three kinds: what arrives is one request or none.

nginx reads every request to its end before it passes it on, so that what its inner server logs is what arrived whole.
Python's server stands for the many that take heads apart in their own way. Ours is the third.
"""

import http.server
import re
import socket
import threading
import unittest

import rig

TABLE = rig.ROOT / "load-balancer/tests/hostile/requests.txt"
ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))")
PLAIN = {b"r": b"\r", b"n": b"\n", b"t": b"\t"}

NGINX = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{outer};
        location / {{ proxy_pass http://127.0.0.1:{inner}; }}
    }}
    log_format line '$request_uri';
    server {{
        listen 127.0.0.1:{inner};
        access_log {directory}/arrived.log line;
        location / {{ return 200 ok; }}
    }}
}}
"""


def rows():
    """(line, status, bytes) of each row."""
    for number, line in enumerate(TABLE.read_text().splitlines(), 1):
        if line and not line.startswith("#"):
            status, _, text = line.split(" ", 2)
            yield number, int(status), ESCAPE.sub(unescape, text.encode())


def unescape(match):
    digits, letter = match.groups()
    return bytes([int(digits, 16)]) if digits else PLAIN.get(letter, letter)


def first_status(address, request):
    """The status of the first answer. Who is refused is heard to the connection's end, so that all has happened by then."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as wire:
        wire.sendall(request)
        said = b""
        try:
            while piece := wire.recv(65536):
                said += piece
                if said.startswith(b"HTTP/1.1 2") and said.endswith(b"ok") or said.startswith(b"HTTP/1.1 404"):
                    break
        except ConnectionResetError:
            pass
    return int(said[9:12]) if said else None


class Arrivals(http.server.BaseHTTPRequestHandler):
    """Python's server: reads what Content-Length or chunks say, and writes down what it was asked for."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            try:
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    self.rfile.read(size + 2)
            except ValueError:
                # The balancer broke the request off.
                return
            while self.rfile.readline() not in (b"\r\n", b""):
                pass
        else:
            length = int(self.headers.get("Content-Length", 0))
            if len(self.rfile.read(length)) < length:
                return
        self.server.arrived.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    do_POST = do_OPTIONS = do_GET

    def log_message(self, *_):
        pass


class Hostile(unittest.TestCase):
    def setUp(self):
        self.directory = rig.directory(self.id())

    def hold(self, address, arrived, answers=(200,), begun=0):
        """Every row ends as the table says, and as many requests have arrived as it says; up to `begun` more have begun to."""
        listed = list(rows())
        self.assertGreater(len(listed), 200)
        balancer = self.balancer(address)
        wrong = []
        for number, status, request in listed:
            got = first_status(balancer.traffic.removeprefix("http://"), request)
            if got != status and not (status == 200 and got in answers):
                wrong.append(f"line {number}: {got}, not {status}")
        self.assertEqual(wrong, [])
        good = [request for _, status, request in listed if status == 200]
        self.assertIn(arrived(), range(len(good), len(good) + 1 + begun), "requests that arrived")

    def balancer(self, address):
        config = self.directory / "balancer.toml"
        config.write_text(
            '[listen]\ntraffic = "127.0.0.1:0"\nadmin = "127.0.0.1:0"\n[health]\nenabled = false\n'
            f'[state]\nfile = "off"\n[[pool.backend]]\naddress = "{address}"\n'
        )
        balancer = rig.Serving(self.directory, config)
        self.addCleanup(balancer.stop)
        return balancer

    def test_nginx(self):
        outer, inner = rig.free_port(), rig.free_port()
        config = self.directory / "nginx.conf"
        config.write_text(NGINX.format(directory=self.directory, outer=outer, inner=inner))
        nginx = rig.Process(self.directory / "nginx", "nginx", "-p", self.directory, "-c", config)
        self.addCleanup(nginx.stop)
        rig.until(lambda: rig.listening([outer, inner]) == sorted([outer, inner]), "nginx listens")
        log = self.directory / "arrived.log"

        def arrived():
            paths = log.read_text().splitlines()
            self.assertEqual([path for path in paths if not path.startswith("/p")], [])
            return len(paths)

        self.hold(f"127.0.0.1:{outer}", arrived)

    def test_python(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Arrivals)
        server.arrived = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)

        def arrived():
            self.assertEqual([path for path in server.arrived if not path.startswith("/p")], [])
            return len(server.arrived)

        self.hold(f"127.0.0.1:{server.server_port}", arrived)

    def test_ours(self):
        backend = rig.Backend(self.directory, "backend1")
        self.addCleanup(backend.stop)
        before = backend.answered()
        # It answers a path that it does not know before it has read the body, also of a request that is broken off in there.
        begun = sum(status != 200 and b"Transfer-Encoding: chunked\r\n\r\n" in request for _, status, request in rows())
        # Looking is a request, too.
        self.hold(backend.address, lambda: backend.answered() - before - 1, answers=(404, 405), begun=begun)
