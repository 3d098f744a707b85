"""A gigabyte each way, and the balancer's memory stays where it is: bodies are passed on, never collected."""

import json

from case import Case
from clients import curl, curl_line, start

GIB = 1 << 30
MIB = 1 << 20
# Peak resident memory of the balancer, dev profile or release: about 22 MiB at rest, the rest for buffers.
PEAK_MAX = 64 * MIB
# The backend's pattern: byte i is i mod 251.
PERIOD = bytes(range(251))


class Bodies(Case):
    # A busy machine may take longer over a gigabyte than the default bound of the whole exchange.
    settings = '[timeouts]\ntotal = "5m"'

    def assert_flat(self):
        peak = self.balancer.peak_memory()
        self.assertLessEqual(peak, PEAK_MAX, f"the balancer's memory peaked at {peak / MIB:.1f} MiB")

    def upload(self, *arguments, stdin=None):
        """Sends a sparse file of a gibibyte; returns the request headers the backend saw."""
        file = self.directory / "sparse"
        with file.open("wb") as sparse:
            sparse.truncate(GIB)
        if stdin:
            with file.open("rb") as sparse:
                seen = json.loads(curl(*arguments, self.url("/echo"), stdin=sparse))
        else:
            seen = json.loads(curl(*arguments, file, self.url("/echo")))
        file.unlink()
        self.assertEqual(seen["body_bytes"], GIB)
        self.assertEqual(self.balancer.metrics().sum("lb_request_body_bytes_total"), GIB)
        self.assert_counted(1)
        self.assert_flat()
        return seen["headers"]

    def test_upload_of_a_gibibyte_with_a_length(self):
        self.assertEqual(self.upload("-T")["content-length"], [str(GIB)])

    def test_upload_of_a_gibibyte_in_chunks(self):
        self.assertEqual(self.upload("-T", "-", stdin=True)["transfer-encoding"], ["chunked"])

    def test_download_of_a_gibibyte(self):
        out = curl("--fail", "-o", "/dev/null", "-w", "%{size_download}", self.url(f"/bytes/{GIB}"))
        self.assertEqual(int(out), GIB)
        self.assertEqual(self.balancer.metrics().sum("lb_response_body_bytes_total"), GIB)
        self.assert_counted(1)
        self.assert_flat()

    def test_download_arrives_byte_for_byte(self):
        length = 16 * MIB + 1
        body = curl("--fail", self.url(f"/bytes/{length}"), raw=True)
        self.assertEqual(len(body), length)
        self.assertTrue(body == (PERIOD * (length // 251 + 1))[:length], "a piece is lost, doubled or shifted")

    def test_a_slow_reader_holds_the_backend_back(self):
        client = start(curl_line("--limit-rate", "8M", "--max-time", 3, "-o", "/dev/null", self.url(f"/bytes/{GIB}")))
        client.communicate(timeout=30)
        self.assertEqual(client.returncode, 28, "curl should have given up after three seconds")
        self.assert_flat()
