"""A client of several balancers as a Service is: it asks each whether it is ready, sends to those that are, and tries nothing twice.

Requests fall due at a steady rate (an open loop) and take the ready balancers in turn, over connections that are kept. One
that the other side has closed meanwhile is not used again, as no client's pool does.
"""

import http.client
import select
import time

from clients import WITHIN, Crowd
from rig import fetch, urllib

# Between two looks at whether a balancer is ready.
LOOK = 0.1
# One look may take so long: a balancer that has ended refuses at once.
LOOK_WITHIN = 1.0


class Service(Crowd):
    """Use it as a context; `good` then counts, and `failed` holds what was not answered with 200."""

    def __init__(self, balancers, rate, connections=24):
        self.places = [(b.traffic.removeprefix("http://"), f"{b.admin}/ready") for b in balancers]
        self.ready = [True] * len(balancers)
        self.pause, self.connections = connections / rate, connections
        self.good, self.failed = [0] * connections, []
        each = [(self.look, at) for at in range(len(balancers))] + [(self.send, n) for n in range(connections)]
        super().__init__(lambda what, number: what(number), each, WITHIN)

    def look(self, at):
        while not self.stopping.wait(LOOK):
            try:
                code, _ = fetch(urllib.request.Request(self.places[at][1]))
            except OSError:
                code = None
            self.ready[at] = code == 200

    def send(self, number):
        kept, turn = {}, number
        due = time.monotonic() + number * self.pause / self.connections
        while not self.stopping.wait(max(0, due - time.monotonic())):
            due, turn = due + self.pause, turn + 1
            ready = [at for at, is_ready in enumerate(self.ready) if is_ready]
            fault = self.one(kept, ready[turn % len(ready)]) if ready else "nobody is ready"
            if fault:
                self.failed.append((time.time(), fault))
            else:
                self.good[number] += 1
        for connection in kept.values():
            connection.close()

    def one(self, kept, at):
        """What is wrong with the answer, or nothing."""
        connection = kept.get(at)
        if connection and connection.sock and select.select([connection.sock], [], [], 0)[0]:
            connection.close()
        connection = kept[at] = connection or http.client.HTTPConnection(self.places[at][0], timeout=WITHIN / 2)
        try:
            connection.request("GET", "/home")
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return f"{self.places[at][0]}: {error!r}"
        return None if answer.status == 200 else f"{self.places[at][0]}: {answer.status}"
