"""The programs people really use, as functions, and what their reports say."""

import http.client
import random
import re
import subprocess
import threading
import time

# Program and the Debian package it comes in.
PACKAGES = {
    "ab": "apache2-utils",
    "chromium": "chromium",
    "curl": "curl",
    "faketime": "faketime",
    "h2load": "nghttp2-client",
    "hey": "hey",
    "ip": "iproute2",
    "openssl": "openssl",
    "promtool": "prometheus",
    "redis-cli": "redis-tools",
    "redis-server": "redis-server",
    "setpriv": "util-linux",
    "wrk": "wrk",
}
WITHIN = 60


def run(argv, **options):
    """Standard output of a client that must succeed."""
    done = subprocess.run(list(map(str, argv)), capture_output=True, timeout=WITHIN, check=False, **options)
    said = done.stdout + done.stderr
    assert done.returncode == 0, f"{' '.join(map(str, argv))}: exit {done.returncode}\n{said[-4000:].decode(errors='replace')}"
    return done.stdout


def curl(*arguments, **options):
    """curl's output as text, or as it is with `raw=True`."""
    raw = options.pop("raw", False)
    out = run(curl_line(*arguments), **options)
    return out if raw else out.decode()


def curl_line(*arguments):
    """The command: without the user's settings and proxies, with a bound."""
    line = ["curl", "--disable", "--noproxy", "*", "--silent", "--show-error", "--max-time", WITHIN - 5, *arguments]
    return list(map(str, line))


def start(argv):
    """A client that goes on by itself; its output is to be read with `report`."""
    return subprocess.Popen(list(map(str, argv)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def report(client):
    """All that a started client said; it must have succeeded."""
    said, _ = client.communicate(timeout=WITHIN)
    assert client.returncode == 0, f"{client.args}: exit {client.returncode}\n{said}"
    return said


class Tally:
    """What a load generator counted: requests answered as they should be, and all others."""

    def __init__(self, good, bad, text):
        self.good, self.bad, self.text = good, bad, text


def number(pattern, text, missing=None):
    match = re.search(pattern, text)
    assert match or missing is not None, f"no {pattern!r} in:\n{text}"
    return int(match[1]) if match else missing


def ab(url, requests, *flags):
    """ab speaks HTTP/1.0; a body of another length counts as failed, too."""
    text = run(["ab", "-q", "-n", requests, "-c", 20, *flags, url]).decode()
    complete = number(r"Complete requests:\s+(\d+)", text)
    failed = number(r"Failed requests:\s+(\d+)", text) + number(r"Non-2xx responses:\s+(\d+)", text, 0)
    return Tally(complete - failed, failed + requests - complete, text)


def hey_line(url, *flags):
    return ["hey", *flags, url]


def hey(text):
    """hey lists every status code and every error with its count."""
    codes = {int(code): int(n) for code, n in re.findall(r"\[(\d{3})\]\s+(\d+) responses", text)}
    errors = text.partition("Error distribution:")[2]
    failed = sum(int(n) for n in re.findall(r"\[(\d+)\]", errors))
    return Tally(codes.pop(200, 0), sum(codes.values()) + failed, text)


def wrk_line(url, seconds, connections):
    return ["wrk", "-t", 1, "-c", connections, "-d", f"{seconds}s", "--timeout", "10s", url]


def wrk(text):
    """wrk mentions errors only where there are any."""
    complete = number(r"(\d+) requests in", text)
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    failed = sum(map(int, sockets.groups())) if sockets else 0
    refused = number(r"Non-2xx or 3xx responses: (\d+)", text, 0)
    return Tally(complete - refused, failed + refused, text)


class Crowd:
    """Threads that ask from the beginning of a `with` block to its end: `ask(*one)` for each `one` of `each`, until
    `stopping` is set."""

    def __init__(self, ask, each, patience):
        self.stopping, self.patience = threading.Event(), patience
        self.threads = [threading.Thread(target=ask, args=one, daemon=True) for one in each]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(self.patience)


class Traffic(Crowd):
    """Requests at a steady rate over kept connections, in an open loop: GET, PUT with a small body, and a GET that takes
    50 ms, so that some are always under way.

    Use it as a context; `failed` then holds what was not answered as it should be. A thread that falls behind sends at
    once until it has caught up, so that a slow answer costs no later request.
    """

    BODY = b'{"name":"a small body"}'
    KINDS = (
        ("GET", "/home", b"Hello from Server"),
        ("PUT", "/echo", b'"body_bytes":%d' % len(BODY)),
        ("GET", "/bench50", b"resp_snd_time"),
    )

    def __init__(self, address, rate, connections=32, trust=None):
        """`trust` is an SSL context, where the address is https's."""
        self.scheme, _, self.address = address.partition("://")
        self.pause, self.trust = connections / rate, trust
        self.good, self.failed, self.slowest = 0, [], (0.0, "", 0.0)
        self.lock = threading.Lock()
        super().__init__(self.send, [(number * self.pause / connections,) for number in range(connections)], WITHIN)

    def send(self, offset):
        if self.scheme == "https":
            connection = http.client.HTTPSConnection(self.address, timeout=WITHIN / 2, context=self.trust)
        else:
            connection = http.client.HTTPConnection(self.address, timeout=WITHIN / 2)
        due, count = time.monotonic() + offset, 0
        while not self.stopping.wait(max(0, due - time.monotonic())):
            due, count, begun = due + self.pause, count + 1, time.monotonic()
            fault = self.one(connection, count % 3)
            took = time.monotonic() - begun
            with self.lock:
                self.slowest = max(self.slowest, (took, self.KINDS[count % 3][1], time.time()))
                if fault:
                    self.failed.append((time.time(), took, fault))
                else:
                    self.good += 1
        connection.close()

    def one(self, connection, kind):
        """What is wrong with the answer, or nothing."""
        method, path, expected = self.KINDS[kind]
        try:
            connection.request(method, f"{path}?request_id={random.random()}", self.BODY if method == "PUT" else None)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return repr(error)
        right = answer.status == 200 and expected in body
        return None if right else f"{answer.status} {body[:300]!r}"
