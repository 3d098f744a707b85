"""The balancer as it runs in a pod: as its ServiceAccount, over TLS, with an API server of our own that knows its token.

The Rust tests have the ways in which an API server fails; here are the certificate, the token and the files that the
kubelet mounts, which take a process and a mount namespace of its own (and so root).
"""

import http.server
import json
import ssl
import threading
import time
import unittest
import urllib.parse

import clients
import rig

TOKEN = "token-of-the-service-account"
# In a namespace of its own, where nobody else sees it: what the kubelet mounts into a pod.
MOUNTED = """
mount -t tmpfs pod /run && mkdir -p /run/secrets/kubernetes.io && cp -r "$1" /run/secrets/kubernetes.io/serviceaccount
shift && exec "$@"
"""
CONFIG = """
[listen]
traffic = "127.0.0.1:0"
admin = "127.0.0.1:0"
[health]
interval = "500ms"
[discovery]
source = "kubernetes"
[discovery.kubernetes]
service = "web"
watch_timeout = "5s"
[replicas]
provider = "kubernetes"
[replicas.kubernetes]
deployment = "web"
"""


class InPod(rig.Serving):
    """`load-balancer serve`, with a ServiceAccount's files where a pod has them."""

    def __init__(self, directory, account, port, log):
        config = directory / "balancer.toml"
        config.write_text(CONFIG)
        mounted = ("unshare", "--mount", "sh", "-ec", MOUNTED, "sh", account)
        program = (rig.PROGRAMS / "load-balancer", "serve", "--config", config)
        pod = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(port), "HOME": "/nowhere"}
        rig.Process.__init__(self, directory / log, *mounted, *program, **pod)
        match = self.said(r"listening traffic=(\S+) admin=(\S+)", self.err)
        self.traffic, self.admin = f"http://{match[1]}", f"http://{match[2]}"


class ApiServer(http.server.ThreadingHTTPServer):
    """One Service's slices, and one Deployment's scale, for whoever has the token."""

    def __init__(self, directory):
        super().__init__(("127.0.0.1", 0), Answer)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory / "leaf.pem", directory / "leaf.key")
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.slices, self.replicas, self.version = {}, 2, 1
        self.changed = threading.Condition()
        self.log = []
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)
        self.thread.start()

    def put(self, name, address):
        host, port = address.split(":")
        target = {"kind": "Pod", "name": name, "uid": f"uid-{name}"}
        with self.changed:
            self.version += 1
            self.slices[f"web-{name}"] = {
                "metadata": {"name": f"web-{name}", "resourceVersion": str(self.version)},
                "addressType": "IPv4",
                "ports": [{"name": "http", "port": int(port), "protocol": "TCP"}],
                "endpoints": [{"addresses": [host], "conditions": {"ready": True}, "targetRef": target}],
            }
            self.log.append((self.version, {"type": "ADDED", "object": self.slices[f"web-{name}"]}))
            self.changed.notify_all()

    def end(self):
        self.shutdown()
        self.server_close()


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, _, query = self.path.partition("?")
        query = dict(urllib.parse.parse_qsl(query))
        server = self.server
        if self.headers["authorization"] != f"Bearer {TOKEN}":
            return self.answer(401, {"kind": "Status", "code": 401, "status": "Failure", "message": "Unauthorized"})
        if path.endswith("/deployments/web/scale"):
            return self.answer(200, self.scale())
        if path != "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices":
            return self.answer(404, {"kind": "Status", "code": 404, "status": "Failure", "message": path})
        if "watch" not in query:
            with server.changed:
                found = {"metadata": {"resourceVersion": str(server.version)}, "items": list(server.slices.values())}
            return self.answer(200, {"kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1", **found})
        return self.watch(int(query["resourceVersion"]), time.monotonic() + int(query["timeoutSeconds"]))

    def do_PATCH(self):
        patch = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.replicas = patch["spec"]["replicas"]
        self.answer(200, self.scale())

    def watch(self, seen, until):
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        while (left := until - time.monotonic()) > 0:
            with self.server.changed:
                self.server.changed.wait_for(lambda seen=seen: self.server.version > seen, left)
                new = [change for version, change in self.server.log if version > seen]
                seen = self.server.version
            for change in new:
                line = json.dumps(change).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.wfile.write(b"0\r\n\r\n")

    def scale(self):
        metadata = {"name": "web", "namespace": "shop", "resourceVersion": "1"}
        return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": {"replicas": self.server.replicas}}

    def answer(self, code, body):
        body = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Kubernetes(unittest.TestCase):
    def setUp(self):
        self.directory = rig.directory(self.id())
        self.account = self.directory / "account"
        self.account.mkdir()
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj")
        (self.directory / "leaf.ext").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        for name in ("ca", "other"):
            self.made("req", "-x509", *key, f"/CN={name}", "-days", "2", "-keyout", f"{name}.key", "-out", f"{name}.pem")
        self.made("req", *key, "/CN=kubernetes", "-keyout", "leaf.key", "-out", "leaf.csr")
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "leaf.ext")
        self.made("x509", "-req", "-in", "leaf.csr", *signed, "-out", "leaf.pem")
        self.api = ApiServer(self.directory)
        self.addCleanup(self.api.end)

    def made(self, name, *more):
        """Runs openssl in the test's directory."""
        clients.run(["openssl", name, *more], cwd=self.directory)

    def pod(self, authority, token):
        """The balancer with these in its ServiceAccount's files."""
        certificate = (self.directory / f"{authority}.pem").read_text()
        for name, text in (("ca.crt", certificate), ("token", token), ("namespace", "shop")):
            (self.account / name).write_text(text)
        balancer = InPod(self.directory, self.account, self.api.server_address[1], f"balancer-{authority}")
        self.addCleanup(balancer.stop)
        return balancer

    def server(self, balancer):
        """Whoever answers a request."""
        code, text = rig.get(balancer.traffic + "/echo?algo=round_robin")
        self.assertEqual(code, 200)
        return json.loads(text)["server"]

    def test_a_service_account_finds_pods_and_scales_a_deployment(self):
        backends = [rig.Backend(self.directory, name) for name in ("one", "two")]
        for backend in backends:
            self.addCleanup(backend.stop)
        self.api.put("one", backends[0].address)
        balancer = self.pod("ca", TOKEN)
        rig.until(lambda: balancer.eligible() == 1, "the first pod")
        self.api.put("two", backends[1].address)
        rig.until(lambda: balancer.eligible() == 2, "the second pod")
        self.assertEqual(balancer.replicas(), ["one", "two"])
        for backend in backends:
            rig.until(lambda name=backend.name: self.server(balancer) == name, f"an answer of {backend.name}")
        self.assertEqual(balancer.control("/add", n=3)[0], 200)
        self.assertEqual(self.api.replicas, 5)
        errors = balancer.metrics().sum("lb_discovery_errors_total")
        self.assertEqual(errors, 0)
        self.assertNotIn(TOKEN, balancer.err.read_text())

    def test_a_certificate_or_a_token_that_is_not_accepted_is_told(self):
        for authority, token, text in (("other", TOKEN, "certificate"), ("ca", "another", "does not accept our credentials (401)")):
            with self.subTest(text):
                balancer = self.pod(authority, token)
                code, ready = rig.get(balancer.admin + "/ready")
                self.assertEqual(code, 503)
                self.assertIn(text, ready)
                self.assertIn("discovery by kubernetes fails", ready)
                lost = [fact for fact in balancer.facts() if fact["kind"] == "discovery_lost"]
                self.assertEqual(len(lost), 1, "told once")
                self.assertNotIn(token, balancer.err.read_text())
                balancer.stop()
