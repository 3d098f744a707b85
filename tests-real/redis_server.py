"""A real Redis for the tests, and ways to be bad to it: a server of our own, and a proxy before it."""

import socket
import subprocess
import threading
import time

import rig

HOST = "127.0.0.1"


class Redis(rig.Process):
    """Debian's redis-server without persistence; after `kill` and `restart` it is there again, empty, at its port."""

    def __init__(self, directory, port=None, *flags):
        self.directory, self.port, self.flags = directory, port or rig.free_port(), flags
        fixed = ["--bind", HOST, "--port", self.port, "--save", "", "--appendonly", "no", "--dir", directory]
        super().__init__(directory / "redis", "redis-server", *fixed, *flags)
        rig.until(lambda: self.say("PING") == "PONG", "Redis answers")

    def restart(self):
        return Redis(self.directory, self.port, *self.flags)

    def say(self, *words):
        """What redis-cli gets."""
        line = ["redis-cli", "-h", HOST, "-p", str(self.port), *map(str, words)]
        return subprocess.run(line, capture_output=True, text=True, timeout=10, check=False).stdout.strip()


class Proxy:
    """Passes bytes on to a port, until it is told to swallow or to delay them."""

    def __init__(self, port):
        self.target, self.swallows, self.delay = port, False, 0.0
        self.listener = socket.create_server((HOST, 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
                server = socket.create_connection((HOST, self.target))
            except OSError:
                return
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self.pump, args=(source, sink), daemon=True).start()

    def pump(self, source, sink):
        try:
            while data := source.recv(1 << 16):
                if self.delay:
                    time.sleep(self.delay)
                if not self.swallows:
                    sink.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                end.close()

    def stop(self):
        self.listener.close()


class Babbler:
    """Listens where a Redis should, and answers everything with nonsense."""

    def __init__(self, port=0):
        self.listener = socket.create_server((HOST, port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.babble, args=(client,), daemon=True).start()

    @staticmethod
    def babble(client):
        try:
            while client.recv(1 << 16):
                client.sendall(b"*3\r\n$-7\r\n\x00\xff:nonsense\r\n" * 5)
        except OSError:
            pass
        finally:
            client.close()

    def stop(self):
        self.listener.close()
