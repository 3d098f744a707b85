"""The admin listener at its edge: who is outside reaches nothing without a token, who is slow gets no more than its time, a page
that rebinds its name reads nothing, and no secret is told anywhere.
"""

import json
import os
import re
import socket
import subprocess
import time
import unittest

import rig
from clients import curl_line

# Of their own, in the block for documentation (RFC 5737): no network of this machine has them.
HERE, THERE = "198.51.100.1", "198.51.100.2"
CHANGE, READ = "a-token-that-may-change", "a-token-that-may-read"
READS = ("/metrics", "/health", "/ready", "/rep", "/decisions?format=json", "/requests/backend1", "/explain/x", "/nothing")
CHANGES = ("/add", "/rm", "/server_up")
TOKENS = f"""
[[control.tokens]]
name = "ops"
token = "{CHANGE}"
rights = "change"
[[control.tokens]]
name = "eyes"
token = "{READ}"
rights = "read"
"""


class Outside:
    """A network of its own, one cable away."""

    def __init__(self):
        self.name, self.cable = f"ballast{os.getpid()}", f"bl{os.getpid() % 10_000_000}"
        try:
            self.ip("netns", "add", self.name)
            self.ip("link", "add", self.cable, "type", "veth", "peer", "name", "far", "netns", self.name)
            self.ip("address", "add", f"{HERE}/30", "dev", self.cable)
            self.ip("link", "set", self.cable, "up")
            self.ip("-n", self.name, "address", "add", f"{THERE}/30", "dev", "far")
            self.ip("-n", self.name, "link", "set", "far", "up")
        except subprocess.CalledProcessError:
            self.close()
            raise

    @staticmethod
    def ip(*words):
        subprocess.run(["ip", *words], check=True, capture_output=True, text=True)

    def curl(self, url, *flags):
        """Status and body; 0 where there was no connection."""
        line = ["ip", "netns", "exec", self.name, *curl_line("--max-time", 5, "-w", "\n%{http_code}", *flags, url)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        body, _, code = done.stdout.rpartition("\n")
        return int(code), body

    def close(self):
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", self.cable], check=False, capture_output=True)


class Case(unittest.TestCase):
    def setUp(self):
        self.directory = rig.directory(self.id())
        self.backend = self.started(rig.Backend(self.directory, "backend1"))

    def started(self, process):
        self.addCleanup(process.stop)
        return process

    def serving(self, settings, admin="127.0.0.1:0", name="balancer", **env):
        config = self.directory / f"{name}.toml"
        text = rig.config_text([self.backend], settings, "adaptive")
        config.write_text(text.replace('admin = "127.0.0.1:0"', f'admin = "{admin}"'))
        return self.started(rig.Serving(self.directory, config, name, **env))


@unittest.skipUnless(os.geteuid() == 0, "a network of its own needs root")
class FromOutside(Case):
    def setUp(self):
        super().setUp()
        self.outside = Outside()
        self.addCleanup(self.outside.close)

    def test_nothing_without_the_token(self):
        port = self.serving(TOKENS, "0.0.0.0:0").admin.rpartition(":")[2]
        base, body = f"http://{HERE}:{port}", ("-d", '{"n":1,"hostnames":["nobody"]}')
        for path in READS:
            code, said = self.outside.curl(base + path)
            self.assertEqual((code, json.loads(said)["error"][:17]), (401, "a token is needed"), path)
            self.assertEqual(self.outside.curl(base + path, "-H", "Authorization: Bearer wrong-wrong-wrong-wrong")[0], 401, path)
        for path in CHANGES:
            self.assertEqual(self.outside.curl(base + path, *body)[0], 401, path)
            code, said = self.outside.curl(base + path, *body, "-H", f"Authorization: Bearer {READ}")
            self.assertEqual(code, 403, path)
            self.assertIn("may only read", said)
        for token in (READ, CHANGE):
            held = ("-H", f"Authorization: Bearer {token}")
            self.assertEqual(self.outside.curl(base + "/metrics", *held)[0], 200)
            self.assertEqual(self.outside.curl(base + "/ready", *held)[0], 200)
        code, said = self.outside.curl(base + "/rm", *body, "-H", f"Authorization: Bearer {CHANGE}")
        self.assertEqual(code, 400, said)
        # This machine reads as before, and needs the token for changes.
        self.assertEqual(rig.get(f"http://127.0.0.1:{port}/rep")[0], 200)

    def test_nothing_at_all_where_there_is_no_token(self):
        port = self.serving("", "0.0.0.0:0").admin.rpartition(":")[2]
        for path in (*READS, *CHANGES):
            flags = ("-d", '{"n":1}') if path in CHANGES else ()
            self.assertEqual(self.outside.curl(f"http://{HERE}:{port}{path}", *flags)[0], 403, path)
        port = self.serving(f'[control]\nreaders = ["{THERE}/32"]\n', "0.0.0.0:0", "named").admin.rpartition(":")[2]
        self.assertEqual(self.outside.curl(f"http://{HERE}:{port}/metrics")[0], 200)
        self.assertEqual(self.outside.curl(f"http://{HERE}:{port}/add", "-d", '{"n":1}')[0], 403)

    def test_by_default_not_even_a_connection(self):
        port = self.serving(TOKENS).admin.rpartition(":")[2]
        self.assertEqual(self.outside.curl(f"http://{HERE}:{port}/metrics", "-H", f"Authorization: Bearer {CHANGE}")[0], 0)


class Listener(Case):
    def test_a_rebound_name_reads_nothing(self):
        admin = self.serving('[control]\nhosts = ["lb.example"]\n').admin
        for host, code in (("evil.example", 421), ("lb.example", 200), ("localhost:1", 200), ("127.0.0.1", 200)):
            request = rig.urllib.request.Request(admin + "/metrics", headers={"Host": host})
            self.assertEqual(rig.fetch(request)[0], code, host)

    def test_who_is_slow_is_closed_and_others_are_served(self):
        settings = '[timeouts]\nrequest_head = "1s"\n[control]\nconnections = 8\n'
        admin = self.serving(settings).admin
        host, port = admin.removeprefix("http://").split(":")
        begun = time.monotonic()
        slow = [socket.create_connection((host, int(port)), timeout=10) for _ in range(20)]
        for n, client in enumerate(slow):
            self.addCleanup(client.close)
            # Nothing, half a head, and half a body.
            client.sendall((b"", b"GET /metrics HTTP/1.1\r\nHos", b"GET /rep HTTP/1.1\r\nHost: h")[n % 3])
        self.assertEqual(rig.get(admin + "/ready")[0], 200)
        took = time.monotonic() - begun
        print(f"    served {took:.1f} s after 20 silent clients at a limit of 8")
        self.assertLess(took, 8)
        for client in slow:
            client.settimeout(10)
            while client.recv(4096):
                pass


class Secrets(Case):
    def test_no_secret_is_told_anywhere(self):
        """Planted wherever one may be, and then looked for in everything that is told."""
        planted = {
            "token": CHANGE, "reader": READ, "redis": "redis-pass-word-planted", "cookie": "cookie-value-planted",
            "authorization": "Basic-credentials-planted", "offered": "offered-token-planted", "url": "url-password-planted",
            "mistyped": "mistyped-token-planted",
        }
        store = f'[store]\nurl = "redis://user:{planted["redis"]}@127.0.0.1:{rig.free_port()}"\n'
        log = '[access_log]\nformat = "json"\npath = "' + str(self.directory / "access.log") + '"\n[decisions]\nrecord = "all"\n'
        balancer = self.serving(store + log + "[control]\nregistration = true\n" + TOKENS, BALLAST_LOG="debug")
        rig.until(lambda: balancer.eligible() == 1, "the backend")
        headers = {"Cookie": f"session={planted['cookie']}", "Authorization": f"Basic {planted['authorization']}",
                   "x-lb-debug": "1", "x-request-id": "planted"}
        told = [rig.fetch(rig.urllib.request.Request(balancer.traffic + path, headers=headers))[1]
                for path in ("/unhealthy-path", "/?algo=nothing")]
        def change(path, body, token):
            request = rig.urllib.request.Request(
                balancer.admin + path, data=json.dumps(body).encode(), method="POST",
                headers={"Authorization": f"Bearer {token}", "x-request-id": "asked-once"})
            return rig.fetch(request)
        code, text = change("/server_up", {"url": f"http://user:{planted['url']}@127.0.0.1:9/"}, CHANGE)
        self.assertEqual(code, 400, text)
        told.append(text)
        told += [change("/rm", {"n": 1, "hostnames": ["nobody"]}, token)[1] for token in (CHANGE, READ, planted["offered"])]
        told += [rig.get(balancer.admin + path)[1]
                 for path in ("/metrics", "/ready", "/rep", "/explain/planted", "/decisions?format=json&what=all&last=100")]
        (self.directory / "balancer.toml").write_text(f'[control]\ntokn = "{planted["mistyped"]}"\n')
        rig.until(lambda: "reload_refused" in [fact["kind"] for fact in balancer.facts()], "the refused file")
        told.append(json.dumps(balancer.facts()))
        check = subprocess.run([rig.PROGRAMS / "load-balancer", "check", "--config", self.directory / "balancer.toml"],
                               capture_output=True, text=True, check=False, env=rig.environment())
        self.assertEqual(check.returncode, 2)
        rig.until(lambda: "planted" in (self.directory / "access.log").read_text(), "the access log")
        balancer.stop()
        files = [file for file in self.directory.iterdir() if file.is_file() and not file.name.endswith(".toml")
                 and not file.name.startswith("backend")]
        told += [check.stdout, check.stderr, *(file.read_text(errors="replace") for file in files)]
        for what, secret in planted.items():
            for text in told:
                at = text.find(secret)
                self.assertEqual(at, -1, f"{what}: {text[max(0, at - 200):at + 100]}")
        # Who did what is told, without what proves it.
        log = balancer.err.read_text()
        line = re.search(r".*audit.*control request.*who=\"ops\".*endpoint=\"/rm\".*|.*audit.*control request.*endpoint=\"/rm\".*who=\"ops\".*", log)
        self.assertTrue(line, log[-3000:])
        for part in ("127.0.0.1", "nobody", "status=400", "asked-once"):
            self.assertIn(part, line[0])
        self.assertRegex(log, r'audit.*who="file".*refused|audit.*reload.*who="file"')
