"""Row H, the hash balancer: the published counts, to the request, through real HTTP.

What holds after changes: from 3 servers up to 6 by /add, and down to 2 by /rm of the latest, the counts are those of a
fresh ring of as many. Taking another out leaves the rest where they are, as the original does, and a server has one number
for life: a fourth that joins when the first was removed, drained or not, makes 333, 306 and 361 of a thousand, the original's
figures.
"""

import collections
import json
import os
import re
import signal

import rig
from case import Row, members
from clients import curl_line, report, start

REQUESTS = 10_000
CONNECTIONS = 4
# By the number of servers: which of ids 1 to 10,000 each gets, in the order of joining.
COUNTS = {
    2: [5412, 4588],
    3: [3650, 3412, 2938],
    4: [2605, 2588, 2171, 2636],
    5: [2148, 2104, 1773, 1976, 1999],
    6: [1616, 1793, 1538, 1627, 1760, 1666],
}


class Hash(Row):
    example = "hash"
    traffic = "http://127.0.0.1:5000"
    ports = (5000, *range(5001, 5011), 9901)
    backends = 3

    def answered(self, requests=REQUESTS):
        """Sends ids 1 to `requests` over several kept connections; returns the ids by server."""
        step = requests // CONNECTIONS
        ranges = [f"{first}-{first + step - 1}" for first in range(1, requests, step)]
        url = self.traffic + "/request?request_id=[{}]"
        running = [start(curl_line("--fail", "--no-progress-meter", url.format(ids))) for ids in ranges]
        ids = collections.defaultdict(list)
        for said in map(report, running):
            for number, server in re.findall(r'"request_id":"(\d+)","server":"([\w-]+)"', said):
                ids[server].append(int(number))
        self.assertEqual(sorted(number for each in ids.values() for number in each), list(range(1, requests + 1)))
        return ids

    def counts(self, *names, requests=REQUESTS):
        """How many each of the servers got, which must be all."""
        ids = self.answered(requests)
        self.assertEqual(set(ids), set(names))
        return [len(ids[name]) for name in names]

    def add(self, name):
        code, body = self.curl("/add", "-d", json.dumps({"n": 1, "hostnames": [name]}))
        self.assertEqual(code, 200, body)
        self.all_eligible(json.loads(body)["message"]["N"])

    def remove(self, name):
        code, body = self.curl("/rm", "-X", "DELETE", "-d", json.dumps({"n": 1, "hostnames": [name]}))
        self.assertEqual(code, 200, body)

    def test_every_documented_line(self):
        said = [out for _, out in self.documented()]
        first = json.loads(said[0])
        self.assertEqual((first["request_id"], first["status"]), ("1", "successful"))
        self.assertEqual(first["message"], f"Request 1 handled by Server: {first['server']}")
        ids = ["1"] if first["server"] == "server1" else []
        self.assertEqual(json.loads(said[1]), {"requests": ids, "status": "successful", "total": len(ids)})
        self.assertEqual(json.loads(said[2]), members("server1", "server2", "server3"))
        self.assertEqual(json.loads(said[3]), members("server1", "server2", "server3", "server4"))
        self.assertEqual(json.loads(said[4]), members("server1", "server2", "server3"))
        self.assertEqual(re.findall(r"(\d+) \"server\":\"(\w+)\"", said[5]), [
            ("3650", "server1"), ("3412", "server2"), ("2938", "server3"),
        ])

    def test_the_published_counts_while_servers_come_and_go(self):
        names = ["server1", "server2", "server3"]
        self.assertEqual(self.counts(*names), COUNTS[3])
        for count in (4, 5, 6):
            names.append(f"server{count}")
            self.add(names[-1])
            self.assertEqual(self.counts(*names), COUNTS[count], f"N={count}, by /add")
        for count in (5, 4, 3, 2):
            self.remove(names.pop())
            self.assertEqual(self.counts(*names), COUNTS[count], f"N={count}, by /rm")

    def test_a_fourth_server_after_the_first(self):
        self.remove("server1")
        rig.until(lambda: "server1" not in self.balancer.processes(), "server1 ended")
        self.add("server4")
        self.assertEqual(self.counts("server2", "server3", "server4", requests=1_000), [333, 306, 361])

    def test_a_fourth_server_while_the_first_drains(self):
        self.remove("server1")
        self.add("server4")
        self.assertEqual(self.counts("server2", "server3", "server4", requests=1_000), [333, 306, 361])

    def test_a_killed_server_loses_no_request_and_the_fourth_takes_over(self):
        os.kill(self.balancer.processes()["server1"], signal.SIGKILL)
        self.answered()
        rig.until(lambda: len(self.balancer.replicas()) == 3, "N is 3 again")
        self.all_eligible(3)
        names = self.balancer.replicas()
        self.assertEqual(names[:2], ["server2", "server3"])
        self.assertEqual(self.counts(*names, requests=1_000), [333, 306, 361])

    def test_each_server_tells_its_requests(self):
        ids = self.answered()
        for number, name in enumerate(("server1", "server2", "server3"), 1):
            for known_as in (name, number):
                code, body = self.curl(f"/requests/{known_as}")
                told = json.loads(body)
                self.assertEqual((code, told["status"], told["total"]), (200, "successful", len(ids[name])))
                self.assertEqual(sorted(map(int, told["requests"])), sorted(ids[name]))
        for unknown in ("4", "0", "server9", "-1", "x"):
            self.says(404, {"message": "Server ID not found", "status": "failure"}, f"/requests/{unknown}")

    def test_a_request_without_an_id_is_refused(self):
        for query in ("", "?request_id=", "?id=1"):
            self.refuses("^<Error> request_id is missing", f"/request{query}")
