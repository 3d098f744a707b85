"""Row A, the assignment: /rep, /add, /rm and /<path> as its users know them, and replicas that come back."""

import json
import os
import re
import signal

import rig
from case import Row, members
from clients import curl

FRESH = r"s-[0-9a-z]{6}"
JSON = ("-H", "Content-Type: application/json")


class Assignment(Row):
    example = "assignment"
    traffic = "http://127.0.0.1:5000"
    ports = (5000, *range(5001, 5011), 9901)
    backends = 3

    def test_every_documented_line(self):
        said = {line.split("5000")[1].rstrip("'"): out for line, out in self.documented()}
        self.assertEqual(said["/rep"], '{"message":{"N":3,"replicas":["S1","S2","S3"]},"status":"successful"}')
        self.assertRegex(said["/home?request_id=123456"], r'^{"message":"Hello from Server: S[123]","status":"successful"}$')
        self.assertEqual(said["/heartbeat"], "")
        added, removed = (json.loads(said[path])["message"] for path in ("/add", "/rm"))
        self.assertEqual((added["N"], added["replicas"][:4]), (5, ["S1", "S2", "S3", "S5"]))
        self.assertRegex(added["replicas"][4], f"^{FRESH}$")
        self.assertEqual((removed["N"], len(removed["replicas"])), (3, 3))
        self.assertNotIn("S5", removed["replicas"])
        self.assertLess(set(removed["replicas"]), set(added["replicas"]))

    def test_add_and_rm_with_and_without_the_header(self):
        self.says(200, members("S1", "S2", "S3"), "/rep")
        self.says(200, members("S1", "S2", "S3", "S4"), "/add", *JSON, "-d", '{"n":1,"hostnames":["S4"]}')
        self.says(200, members("S1", "S2", "S3", "S4", "S6", "S5"), "/add", "-d", '{"n":2,"hostnames":["S6","S5"]}')
        self.says(200, members("S2", "S3", "S4", "S6"), "/rm", "-X", "DELETE", *JSON, "-d", '{"n":2,"hostnames":["S5","S1"]}')
        self.says(200, members("S2", "S3", "S4"), "/rm", "-X", "DELETE", "-d", '{"n":1,"hostnames":["S6"]}')
        self.says(200, members("S2", "S3"), "/rm", "-d", '{"n":1,"hostnames":["S4"]}')
        code, body = self.curl("/add", "-d", '{"n":2}')
        self.assertEqual(code, 200, body)
        self.assertRegex(body, rf'"N":4,"replicas":\["S2","S3","{FRESH}","{FRESH}"\]')
        code, body = self.curl("/rm", "-X", "DELETE", "-d", '{"n":3}')
        self.assertEqual((code, json.loads(body)["message"]["N"]), (200, 1), body)
        # What was removed is drained, then ended.
        rig.until(lambda: len(self.balancer.processes()) == 1, "one process left")
        self.assertEqual(list(self.balancer.processes()), self.balancer.replicas())

    def test_bad_input_changes_nothing(self):
        longer = "<Error> Length of hostname list is more than {} instances"
        for endpoint, method, which in (("/add", "POST", "newly added"), ("/rm", "DELETE", "removable")):
            answer = {"message": longer.format(which), "status": "failure"}
            for header in (JSON, ()):
                self.says(400, answer, endpoint, "-X", method, *header, "-d", '{"n":1,"hostnames":["S1","S7"]}')
            for body in ("{}", '{"hostnames":["S7"]}', '{"n":0}', '{"n":-1}', '{"n":1.5}', '{"n":"1"}', '{"n":null}'):
                self.refuses("^<Error> n: must be a positive number", endpoint, "-X", method, "-d", body)
            for body in ("", "n=1", "[1]", '{"n":1', "null"):
                self.refuses("^<Error> the body must be a JSON object", endpoint, "-X", method, "-d", body)
            self.refuses("^<Error> hostnames: must be a list", endpoint, "-X", method, "-d", '{"n":1,"hostnames":"S7"}')
            self.refuses('^<Error> "name" is unknown', endpoint, "-X", method, "-d", '{"n":1,"name":"S7"}')
        for names, fault in (
            (["S7", "S7"], "'S7' is given twice"), (["S7", "S1"], "'S1' is already present"),
            (["S7", "-a"], "'-a' is not a valid"),
            (["S7", "a_b"], "'a_b' is not a valid"), (["S7", ""], "'' is not a valid"), (["S7", "a" * 64], "is not a valid"),
            (["S7", "é"], "is not a valid"), (["S7", "a.b"], "'a.b' is not a valid"),
        ):
            self.refuses(f"^<Error> hostnames: .*{fault}", "/add", "-d", json.dumps({"n": 3, "hostnames": names}))
        self.refuses("^<Error> n: there would be more than", "/add", "-d", '{"n":1000000}')
        for body, fault in (
            ('{"n":2,"hostnames":["S1","S9"]}', "hostnames: 'S9' is not a removable"),
            ('{"n":2,"hostnames":["S1","S1"]}', "hostnames: 'S1' is given twice"),
            ('{"n":4}', "n: 4 are to be removed and only 3"),
            ('{"n":9,"hostnames":["S1"]}', "n: 9 are to be removed and only 3"),
        ):
            self.refuses(f"^<Error> {fault}", "/rm", "-X", "DELETE", "-d", body)
        self.says(200, members("S1", "S2", "S3"), "/rep")
        self.assertEqual(sorted(self.balancer.processes()), ["S1", "S2", "S3"])
        facts = {fact["kind"] for fact in self.balancer.facts()}
        self.assertEqual(facts, {"replica_started", "joined", "healthy"}, "nothing was begun")

    def test_what_cannot_be_started_leaves_nothing_half_done(self):
        self.balancer.stop()
        self.balancer = rig.Serving(self.directory, self.file, "narrow", BALLAST_REPLICAS__PROCESS__PORTS="5001-5004")
        self.addCleanup(self.balancer.stop)
        self.refuses("^<Error> .*no port from 5001 to 5004 is free", "/add", "-d", '{"n":3,"hostnames":["S4"]}', code=502)
        self.says(200, members("S1", "S2", "S3"), "/rep")
        rig.until(lambda: len(self.balancer.processes()) == 3, "what had started has ended")
        # The name and the port are free again.
        self.says(200, members("S1", "S2", "S3", "S4"), "/add", "-d", '{"n":1,"hostnames":["S4"]}')

    def test_other_paths_do_not_exist(self):
        for path in ("/other", "/", "/heartbeat/", "/Home", "/is_prime/7"):
            for query in ("", "?request_id=1"):
                answer = {"message": f"<Error> '{path}' endpoint does not exist in server replicas", "status": "failure"}
                self.says(400, answer, path + query)

    def test_a_request_id_keeps_its_server(self):
        self.assertEqual(len({self.curl("/home?request_id=77") for _ in range(10)}), 1)
        self.assertEqual(set(self.servers(300)), {"S1", "S2", "S3"})

    def test_a_killed_replica_comes_back_under_a_fresh_name(self):
        os.kill(self.balancer.processes()["S2"], signal.SIGKILL)
        # Nobody notices, from the first request on.
        self.assertEqual(len(self.servers(500)), 500)
        rig.until(lambda: len(self.balancer.replicas()) == 3, "N is 3 again")
        names = self.balancer.replicas()
        self.assertRegex(" ".join(names), f"^S1 S3 {FRESH}$")
        self.all_eligible(3)
        self.assertEqual(sorted(self.balancer.processes()), sorted(names))
        self.assertEqual(set(self.servers(500)), set(names))

    def servers(self, count):
        """Who answers request ids 1 to `count`, all of which succeed."""
        said = curl("--fail", f"{self.traffic}/home?request_id=[1-{count}]")
        return re.findall(r"Hello from Server: ([\w-]+)", said)
