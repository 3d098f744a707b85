"""Two balancers under the same load at the same moments, so that what the machine does hits both alike.

Each connection pair asks one and then the other, in turn, from one process: a pause of the machine or of this client falls
on requests of both. What is left of a difference is the balancers' own.
"""

import http.client
import time

from clients import Crowd

# Longer than any balancer may take; a request that waits for it has failed.
WITHIN = 10


class SideBySide(Crowd):
    """Use it as a context; when it ends, `p99` has a figure in milliseconds for each, and `failed` what failed where."""

    def __init__(self, urls, path, connections):
        self.addresses, self.path = [url.removeprefix("http://") for url in urls], path
        self.took, self.failed = [[] for _ in urls], []
        super().__init__(self.ask, [(n, n / connections) for n in range(connections)], 2 * WITHIN)

    def __exit__(self, *error):
        super().__exit__(*error)
        self.p99 = [percentile(sorted(took), 0.99) * 1000 for took in self.took]

    def ask(self, first, after):
        # Spread over a second: requests that all come at once wait for one another.
        self.stopping.wait(after)
        connections = [http.client.HTTPConnection(address, timeout=WITHIN) for address in self.addresses]
        turn = first
        while not self.stopping.is_set():
            side, turn = turn % len(connections), turn + 1
            begun = time.monotonic()
            try:
                connections[side].request("GET", self.path)
                answer = connections[side].getresponse()
                answer.read()
                fault = None if answer.status == 200 else answer.status
            except (OSError, http.client.HTTPException) as error:
                connections[side].close()
                fault = repr(error)
            self.took[side].append(time.monotonic() - begun)
            if fault:
                self.failed.append((self.addresses[side], fault))
        for connection in connections:
            connection.close()


def percentile(sorted_numbers, share):
    return sorted_numbers[min(len(sorted_numbers) - 1, int(share * len(sorted_numbers)))]
