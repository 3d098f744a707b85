"""What a VM of Google's finds in its network: the metadata server, Secret Manager, registries and a place for archives.

A subset, and strict where the real ones are: metadata wants its header, secrets and private images want the token of the
service account. Run as a program it serves a directory, in a network namespace that has nothing else; `Cloud` starts it,
and changes what it says by changing files there.
"""

import base64
import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
from pathlib import Path

ADDRESS = "169.254.169.254"
TOKEN = "ya29.a-token-of-the-service-account"
SECRETS = "secretmanager.googleapis.com"
ARCHIVES = "archives.example.com"
PRIVATE = "europe-west1-docker.pkg.dev"
REGISTRIES = ("registry-1.docker.io", "ghcr.io", "quay.io", PRIVATE)
HOSTS = (SECRETS, ARCHIVES, *REGISTRIES)
PROJECT = "a-project"
# Each step replaces the one before it, so that the process stays the one that is known.
APART = 'ip link set lo up && ip address add 169.254.169.254/32 dev lo && exec "$@"'


class Cloud:
    """The server process, and what it is to say."""

    def __init__(self, directory):
        import rig

        self.directory = directory / "cloud"
        self.directory.mkdir()
        self.secrets(**{})
        self.attributes(**{})
        self.certify()
        self.process = rig.Process(
            directory / "cloud-server", "unshare", "--net", "sh", "-c", APART, "sh", sys.executable, __file__, self.directory
        )
        self.process.said("serving", self.process.out)
        self.pid = self.process.popen.pid

    def certify(self):
        """An authority, and a certificate of it for every host."""
        names = ",".join(f"DNS:{host}" for host in HOSTS)
        make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        make += ["-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=tests", "-addext", f"subjectAltName={names}"]
        subprocess.run(make, cwd=self.directory, capture_output=True, check=True)

    def make_known(self, upper, tree):
        """Has a machine find these hosts, and trust them."""
        certificates = Path("etc/ssl/certs/ca-certificates.crt")
        (upper / certificates).parent.mkdir(parents=True)
        (upper / certificates).write_text((tree / certificates).read_text() + (self.directory / "cert.pem").read_text())
        names = " ".join((*HOSTS, "metadata.google.internal", "metadata"))
        (upper / "etc/hosts").write_text(f"127.0.0.1 localhost lb-vm\n{ADDRESS} {names}\n")

    def attributes(self, **attributes):
        """The instance's own; a dash is written as an underscore."""
        self.write("attributes", {key.replace("_", "-"): value for key, value in attributes.items()})

    def secrets(self, **secrets):
        self.write("secrets", {key.replace("_", "-"): value for key, value in secrets.items()})

    def write(self, name, what):
        new = self.directory / f"{name}.new"
        new.write_text(json.dumps(what))
        new.rename(self.directory / f"{name}.json")

    def asked(self):
        """Every request, as `HOST PATH STATUS`."""
        return self.process.out.read_text().splitlines()

    def stop(self):
        self.process.stop()


class Handler(http.server.BaseHTTPRequestHandler):
    """Both servers, told apart by the host that was asked for."""

    protocol_version = "HTTP/1.1"
    root = None

    def do_GET(self):
        host = self.headers.get("Host", "").partition(":")[0]
        path = self.path.partition("?")[0]
        if host == SECRETS:
            self.answer(host, *self.secret(path))
        elif host in REGISTRIES:
            self.registry(host, path)
        elif host == ARCHIVES:
            file = self.root / path.strip("/")
            self.answer(host, 200, file.read_bytes()) if file.is_file() else self.answer(host, 404)
        else:
            self.answer(host, *self.metadata(path))

    do_HEAD = do_GET

    def read(self, name):
        return json.loads((self.root / f"{name}.json").read_text())

    def metadata(self, path):
        if self.headers.get("Metadata-Flavor") != "Google":
            return 403, b"Missing Metadata-Flavor:Google header.\n"
        attributes = self.read("attributes")
        account = {"email": "vm@a-project.iam.gserviceaccount.com", "token": {"access_token": TOKEN, "expires_in": 3599, "token_type": "Bearer"}}
        node = {
            "instance": {"attributes": attributes, "service-accounts": {"default": account}, "name": "lb-vm", "id": 1},
            "project": {"project-id": PROJECT, "attributes": {}},
        }
        parts = [part for part in path.removeprefix("/computeMetadata/v1").split("/") if part]
        for part in parts:
            if not isinstance(node, dict) or part not in node:
                return 404, b"Not found\n"
            node = node[part]
        if "recursive=true" in self.path or parts[-1:] == ["token"]:
            return 200, json.dumps(node).encode()
        if isinstance(node, dict):
            return 200, "".join(f"{key}{'/' if isinstance(value, dict) else ''}\n" for key, value in node.items()).encode()
        return 200, str(node).encode()

    def secret(self, path):
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, b"{}"
        prefix, _, rest = path.partition("/secrets/")
        name, _, version = rest.partition("/versions/")
        secret = self.read("secrets").get(name)
        if prefix != f"/v1/projects/{PROJECT}" or secret is None or version not in ("latest:access", "7:access"):
            return 404, json.dumps({"error": {"code": 404, "status": "NOT_FOUND"}}).encode()
        data = base64.b64encode(secret.encode()).decode()
        return 200, json.dumps({"name": path, "payload": {"data": data, "dataCrc32c": "1"}}, indent=2).encode()

    def registry(self, host, path):
        """Docker's registry API, as far as `docker pull` asks."""
        basic = base64.b64encode(f"oauth2accesstoken:{TOKEN}".encode()).decode()
        if host == PRIVATE and self.headers.get("Authorization") != f"Basic {basic}":
            return self.answer(host, 401, b"", ("WWW-Authenticate", 'Basic realm="tests"'))
        kind, _, which = path.rpartition("/")
        if path.strip("/") == "v2":
            return self.answer(host, 200, b"{}")
        # An image's name in images.json has its registry, unless that is Docker's own.
        name = kind.removeprefix("/v2/").removesuffix("/manifests").removesuffix("/blobs")
        if host != REGISTRIES[0]:
            name = f"{host}/{name}"
        images = self.read("images")
        digest = images.get(f"{name.removeprefix('library/')}:{which}") if kind.endswith("/manifests") else None
        blob = self.root / "blobs" / (digest or which)
        if not blob.is_file():
            return self.answer(host, 404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')
        kind = "application/vnd.docker.distribution.manifest.v2+json" if kind.endswith("/manifests") else "application/octet-stream"
        return self.answer(host, 200, blob, ("Content-Type", kind), ("Docker-Content-Digest", digest or which))

    def answer(self, host, status, body=b"", *headers):
        length = body.stat().st_size if isinstance(body, Path) else len(body)
        print(host, self.path, status, flush=True)
        self.send_response(status)
        self.send_header("Metadata-Flavor", "Google")
        # Google's runner waits for a change of this.
        self.send_header("ETag", "1")
        self.send_header("Content-Length", str(length))
        for header in headers:
            self.send_header(*header)
        self.end_headers()
        if self.command == "HEAD":
            return
        if isinstance(body, bytes):
            self.wfile.write(body)
        else:
            with body.open("rb") as file:
                while piece := file.read(1 << 20):
                    self.wfile.write(piece)

    def log_message(self, *_):
        """`answer` has said it."""


def main(root):
    Handler.root = Path(root)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Handler.root / "cert.pem", Handler.root / "key.pem")
    secure = http.server.ThreadingHTTPServer((ADDRESS, 443), Handler)
    secure.socket = context.wrap_socket(secure.socket, server_side=True, do_handshake_on_connect=False)
    plain = http.server.ThreadingHTTPServer((ADDRESS, 80), Handler)
    threading.Thread(target=secure.serve_forever, daemon=True).start()
    print("serving", flush=True)
    plain.serve_forever()


if __name__ == "__main__":
    os.umask(0o077)
    main(sys.argv[1])
