"""TLS with programs that are not ours: curl, openssl, a WebSocket client and Chromium as clients, openssl as a backend."""

import os
import re
import ssl
import subprocess
from types import SimpleNamespace

from websockets.sync.client import connect

import rig
from browser import Browser
from case import Case
from certificates import Authority
from clients import WITHIN, curl

NAMES = ("one.test", "two.test", "a.shop.test")


class Listening(Case):
    """A balancer whose traffic listener speaks TLS; `more` is what else `[tls]` says."""

    more = ""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        directory = rig.directory(f"{cls.__module__}.{cls.__qualname__}.certificates")
        cls.authority = Authority(directory)
        pairs = [cls.authority.issue("one", "one.test", "127.0.0.1"), cls.authority.issue("two", "two.test", "*.shop.test")]
        listed = "".join(f'[[tls.certificate]]\nchain = "{chain}"\nkey = "{key}"\n' for chain, key in pairs)
        cls.settings = f"[tls]\n{cls.more.format(ca=cls.authority.file)}\n{listed}"

    def setUp(self):
        super().setUp()
        self.port = self.balancer.traffic.rpartition(":")[2]

    def https(self, name, path="/home"):
        return f"https://{name}:{self.port}{path}"

    def curl(self, name, *arguments):
        """Status, version of TLS and body, as curl has it."""
        resolve = [word for each in NAMES for word in ("--resolve", f"{each}:{self.port}:127.0.0.1")]
        said = curl("--cacert", self.authority.file, *resolve, "--http1.1", "-w", "\n%{http_code}", *arguments, self.https(name))
        body, _, code = said.rpartition("\n")
        return int(code), body

    def s_client(self, *arguments):
        """What openssl says of a handshake, and whether it came to one."""
        argv = ["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-CAfile", self.authority.file, "-verify_return_error", *arguments]
        done = subprocess.run(list(map(str, argv)), input=b"", capture_output=True, timeout=WITHIN, check=False)
        return done.returncode, (done.stdout + done.stderr).decode(errors="replace")

    def handshakes(self, result):
        return self.balancer.metrics().by("lb_tls_handshakes_total", "result").get(result, 0)


class Clients(Listening):
    def test_curl_by_both_versions_and_every_name(self):
        for name in (*NAMES, "127.0.0.1"):
            for version in ("1.2", "1.3"):
                code, body = self.curl(name, f"--tlsv{version}", "--tls-max", version)
                self.assertEqual(code, 200, f"{name} {version}")
                self.assertIn("Hello from Server", body)
        self.assert_counted(8)
        self.assertEqual(self.handshakes("ok"), 8)

    def test_openssl_is_shown_the_certificate_of_its_name(self):
        for name, expected in (("one.test", "one.test"), ("two.test", "two.test"), ("a.shop.test", "two.test"), ("nobody.test", "one.test")):
            code, said = self.s_client("-servername", name)
            self.assertEqual(code, 0, said)
            self.assertRegex(said, rf"subject=CN ?= ?{re.escape(expected)}\n")
        code, said = self.s_client("-alpn", "spdy/3,http/1.1")
        self.assertIn("ALPN protocol: http/1.1", said)

    def test_openssl_resumes_a_session(self):
        saved = self.directory / "session"
        for version in ("-tls1_2", "-tls1_3"):
            # In TLS 1.3 tickets follow the handshake: a response makes sure that one was read.
            request = "GET /home HTTP/1.1\r\nHost: one.test\r\nConnection: close\r\n\r\n".encode()
            argv = ["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-quiet", "-ign_eof", version]
            for flag in ("-sess_out", "-sess_in"):
                done = subprocess.run([*argv, flag, str(saved)], input=request, capture_output=True, timeout=WITHIN, check=False)
                self.assertIn(b"Hello from Server", done.stdout, done.stderr)
            code, said = self.s_client(version, "-sess_in", saved)
            self.assertIn("Reused, TLS", said)

    def test_nothing_older_is_spoken(self):
        for version in ("-tls1", "-tls1_1"):
            code, said = self.s_client(version, "-cipher", "DEFAULT@SECLEVEL=0")
            self.assertNotEqual(code, 0, said)
        rig.until(lambda: self.handshakes("incompatible") == 2, "both counted")

    def test_websocket_messages_come_back(self):
        trust = ssl.create_default_context(cafile=self.authority.file)
        url = self.https("127.0.0.1", "/ws").replace("https:", "wss:")
        with connect(url, ssl=trust, max_size=None, proxy=None, open_timeout=10, close_timeout=10) as socket:
            for message in ("Grüße", b"", os.urandom(1 << 20), "x" * (1 << 20)):
                socket.send(message)
                self.assertTrue(socket.recv(timeout=10) == message, f"{len(message)} {type(message).__name__}")
        rig.until(lambda: self.balancer.metrics().sum("lb_requests_in_flight") == 0, "the tunnel closed and counted")

    def test_a_browser_opens_a_page(self):
        chain = self.authority.directory / "one.pem"
        spki = "openssl x509 -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64"
        digest = subprocess.run(["bash", "-c", spki], stdin=chain.open(), capture_output=True, check=True, text=True, timeout=WITHIN).stdout.strip()
        page = self.started(Browser(self.directory, f"--ignore-certificate-errors-spki-list={digest}")).page()
        self.addCleanup(page.close)
        page.open(self.https("127.0.0.1"))
        page.until("document.body && document.body.innerText.includes('Hello from Server')")
        self.assertEqual(page.js("location.protocol + isSecureContext"), "https:true")
        self.assertEqual(page.js("fetch('/echo', {method: 'PUT', body: 'x'.repeat(300000)}).then(answer => answer.status)"), 200)


class ClientCertificates(Listening):
    more = 'client_auth = "required"\nclient_ca = "{ca}"'

    def test_only_who_shows_a_certificate_is_served(self):
        chain, key = self.authority.issue("person", "person.test")
        code, _ = self.curl("one.test", "--cert", chain, "--key", key)
        self.assertEqual(code, 200)
        for version in ("1.2", "1.3"):
            with self.assertRaises(AssertionError, msg=version):
                self.curl("one.test", f"--tlsv{version}", "--tls-max", version)
        rig.until(lambda: self.handshakes("client_certificate") == 2, "both counted")
        self.assert_counted(1)


class Backends(Case):
    """Openssl's own server behind the balancer; it serves nobody without a certificate."""

    def setUp(self):
        self.directory = rig.directory(self.id())
        self.authority = Authority(self.directory)
        chain, key = self.authority.issue("backend", "backend.test")
        own = self.authority.issue("own", "balancer.test")
        port = rig.free_port()
        argv = ("openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", chain, "-key", key, "-Verify", 1, "-verify_return_error",
                "-CAfile", self.authority.file, "-www", "-naccept", 1000)
        self.started(rig.Process(self.directory / "openssl", *argv)).said("ACCEPT", self.directory / "openssl.out")
        self.backend = SimpleNamespace(name="openssl", address=f"https://127.0.0.1:{port}")
        self.settings = f"""\
[pool.tls]
ca = "{self.authority.file}"
server_name = "backend.test"
certificate = "{own[0]}"
key = "{own[1]}"
"""

    def test_checks_and_requests_reach_it(self):
        balancer = self.started(rig.Balancer(self.directory, [self.backend], self.settings))
        code, text = rig.get(balancer.traffic + "/")
        self.assertEqual(code, 200, text)
        self.assertIn("s_server", text)
        self.assertRegex(text, "CN ?= ?balancer.test")
