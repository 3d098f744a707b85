"""What a client that keeps its connection and says nothing costs: a place and a little memory, no buffers (ADR 38)."""

import contextlib

import rig
from case import Case
from connections import ask, hold

# So many connections rest, and each may cost so many bytes of resident memory. With hyper's buffers it is some 30,000.
COUNT, EACH = 2_000, 12_000


class Resting(Case):
    alone = "memory is looked at"

    def parked(self):
        return self.balancer.metrics().sum("lb_downstream_connections_parked")

    def test_two_thousand_that_rest_need_no_buffers_and_are_answered_again(self):
        with contextlib.ExitStack() as stack:
            before = self.balancer.memory()
            held = hold(stack, self.balancer.traffic, COUNT)
            self.answered(held)
            # The allocator gives back what is free when it has something to do the next time: a scrape will do.
            rig.until(
                lambda: self.parked() == COUNT and self.balancer.memory() - before < EACH * COUNT,
                f"all rest, with less than {EACH} bytes each",
            )
            self.answered(held)
        rig.until(lambda: self.parked() == 0, "nobody is left")

    def answered(self, held):
        self.assertEqual({ask(connection) for connection in held}, {b"HTTP/1.1 200 OK"})
