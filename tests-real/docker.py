"""A Docker daemon of our own, with an image of the program `backend` that needs no registry.

It shares nothing with a daemon that may run on this machine: its files are in a directory of its own, it makes no
default bridge and leaves the firewall alone, and its networks are removed with it. It needs root; without, or where
the machine cannot run containers, `Daemon` fails and says why.
"""

import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import urllib.parse
from pathlib import Path

import rig

IMAGE = "ballast-backend:test"
NETWORK = "ballast-test"
# Nobody's network, hopefully: Docker's usual ones are in 172.16.0.0/12.
SUBNETS = "base=10.213.0.0/16,size=24"
# Servers live where the path of ordinary users does not reach.
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
STOP_WITHIN = 30.0
# Each step replaces the one before it, so that the process stays the one that we know.
APART = ("unshare", "--net", "--mount", "--propagation", "shared", "sh", "-c", 'ip link set lo up && exec "$@"', "dockerd")


class Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("docker", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Daemon:
    """A daemon, up until `stop`. `directory` takes its log.

    With `apart` it is in a network of its own: no port of this machine is taken, and what its containers publish is
    reached by `inside`. Its mounts are its own, too, and shared, as on a machine with systemd.
    """

    def __init__(self, directory, apart=False):
        if os.geteuid() != 0:
            raise AssertionError("a Docker daemon needs root: run this as root")
        program = shutil.which("dockerd", path=PATH)
        if not program:
            raise AssertionError("dockerd is missing: apt-get install docker.io, or `make tools`")
        # Sockets have short paths only.
        self.home = Path(tempfile.mkdtemp(prefix="ballast-docker-"))
        self.socket = self.home / "docker.sock"
        os.environ["PATH"] = PATH
        # A bridge would be the machine's. Only BuildKit wants one.
        way, bridge = (APART, ()) if apart else ((), ("--bridge", "none"))
        self.process = rig.Process(
            directory / "dockerd", *way, program, "--host", f"unix://{self.socket}", "--pidfile", self.home / "pid",
            "--data-root", self.home / "data", "--exec-root", self.home / "exec", *bridge,
            "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false",
            "--default-address-pool", SUBNETS,
        )  # fmt: skip
        try:
            self.process.said(f"API listen on {re.escape(str(self.socket))}", self.process.err)
            self.prepare()
        except BaseException:
            self.stop()
            raise

    def prepare(self):
        """What is wanted of it before it is used."""

    def inside(self, *command):
        """`command`, as it has to be said to run in the daemon's network."""
        return ["nsenter", "--target", str(self.process.popen.pid), "--net", *map(str, command)]

    def ask(self, method, path, body=None):
        """The daemon's answer; a refusal is a failure."""
        connection = Connection(str(self.socket))
        raw = body if isinstance(body, bytes) else json.dumps(body)
        connection.request(method, path, raw, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        assert answer.status < 300, f"{method} {path}: {answer.status} {text}"
        return text

    def containers(self, **labels):
        """All containers with these labels (dots as underscores), ended ones too."""
        wanted = [f"{key.replace('_', '.')}={value}" for key, value in labels.items()]
        filters = urllib.parse.quote(json.dumps({"label": wanted}))
        return json.loads(self.ask("GET", f"/containers/json?all=1&filters={filters}"))

    def shims(self):
        """The processes that hold this daemon's containers."""
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                words = (directory / "cmdline").read_text().split("\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if "shim" in words[0] and any(word.startswith(f"{self.home}/") for word in words):
                yield int(directory.name)

    def stop(self):
        """Ends the daemon with all it runs, and removes its files."""
        if not self.home.exists():
            return
        if self.process.popen.poll() is None:
            try:
                for container in self.containers():
                    self.ask("DELETE", f"/containers/{container['Id']}?force=1")
                self.ask("POST", "/networks/prune")
            except (AssertionError, OSError) as error:
                print(f"not everything is cleaned up: {error}")
            self.process.popen.terminate()
            try:
                self.process.wait(STOP_WITHIN)
            except subprocess.TimeoutExpired:
                self.process.kill()
        # A build that was under way runs on without its daemon.
        for shim in self.shims():
            for pid in (*rig.children(shim), shim):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        # What was killed may have left its mounts.
        for line in reversed(Path("/proc/mounts").read_text().splitlines()):
            if line.split()[1].startswith(f"{self.home}/"):
                subprocess.run(["umount", "--lazy", line.split()[1]], check=False)
        shutil.rmtree(self.home, ignore_errors=True)


class Docker(Daemon):
    """The daemon with the image of the program `backend`, and a network."""

    def prepare(self):
        self.load()
        self.ask("POST", "/networks/create", {"Name": NETWORK})

    def load(self):
        """Makes the image: the program and the libraries it is linked with, nothing else."""
        change = urllib.parse.quote('ENTRYPOINT ["/backend"]')
        name, tag = IMAGE.split(":")
        said = self.ask("POST", f"/images/create?fromSrc=-&repo={name}&tag={tag}&changes={change}", tarball())
        assert '"error"' not in said, said


def tarball():
    """An archive of the program `backend` and its shared libraries, each where the program looks for it."""
    backend = rig.PROGRAMS / "backend"
    linked = subprocess.run(["ldd", backend], capture_output=True, text=True, check=True).stdout
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", dereference=True) as archive:
        archive.add(backend, "backend")
        for library in re.findall(r"(/\S+) \(0x", linked):
            archive.add(library, library.lstrip("/"))
    return data.getvalue()
