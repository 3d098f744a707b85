"""The units of deploy/systemd on a machine with a real systemd: as strict as they say, and the balancer works in them."""

import json
import re
import shutil
import subprocess

import machine
import rig

UNITS = rig.ROOT / "deploy/systemd"
# Of 100: systemd's own scale is 0 (closed) to 10 (open), here times ten.
EXPOSURE = 15
CONFIG = """\
[listen]
traffic = "127.0.0.1:5000"
[control]
on_traffic_port = true
[health]
interval = "500ms"
edge_interval = "100ms"
[access_log]
format = "text"
path = "/var/log/ballast/access.log"
[[pool.backend]]
name = "one"
address = "127.0.0.1:5001"
"""
SECOND = '[[pool.backend]]\nname = "two"\naddress = "127.0.0.1:5002"\n'
TOKEN = "a-token-of-the-environment"
SLOW_MS = 3000


class Units(machine.Case):
    """A test leaves the balancer running with one backend."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.machine.boot()
        for program in ("load-balancer", "backend"):
            shutil.copy(rig.PROGRAMS / program, cls.machine.path("/usr/local/bin"))
        for unit in (*UNITS.glob("*.service"), *UNITS.glob("*.socket")):
            shutil.copy(unit, cls.machine.path("/etc/systemd/system"))
        cls.machine.path("/etc/ballast").mkdir()
        cls.config = cls.machine.path("/etc/ballast/load-balancer.toml")
        cls.config.write_text(CONFIG)
        environment = cls.machine.path("/etc/ballast/environment")
        environment.write_text(f"BALLAST_CONTROL__TOKEN={TOKEN}\n")
        environment.chmod(0o600)
        cls.machine.path("/etc/ballast/backend-5001").write_text("REGION=EU\nFAULT=1\n")
        cls.machine.say("systemctl", "daemon-reload")
        cls.machine.say("systemctl", "enable", "--now", "backend@5001", "backend@5002", "load-balancer")
        rig.until(cls.ready, "the balancer is ready")

    @classmethod
    def curl(cls, url, *arguments):
        done = cls.machine.ask("curl", "--silent", "--max-time", "10", "--write-out", "\n%{http_code}", *arguments, url)
        body, _, code = done.stdout.rpartition("\n")
        return int(code), body

    @classmethod
    def ready(cls):
        return cls.curl("http://127.0.0.1:9901/ready")[0] == 200

    def show(self, what, unit="load-balancer"):
        return self.machine.say("systemctl", "show", f"--property={what}", "--value", unit).strip()

    def replicas(self):
        return json.loads(self.curl("http://127.0.0.1:9901/rep")[1])["message"]["replicas"]

    def test_verified_and_closed(self):
        for unit in ("load-balancer.service", "backend@5001.service"):
            self.assertEqual(self.machine.say("systemd-analyze", "verify", "--man=no", unit), "")
            said = self.machine.say("systemd-analyze", "security", "--no-pager", f"--threshold={EXPOSURE}", unit)
            print(re.search(r"Overall exposure level.*", said)[0])

    def test_the_socket_is_verified(self):
        self.assertEqual(self.machine.say("systemd-analyze", "verify", "--man=no", "load-balancer.socket"), "")

    def test_an_upgrade_is_followed(self):
        """Another process is the main one, and systemd neither ends nor restarts anything."""
        process = self.show("MainPID")
        self.machine.say("systemctl", "kill", "--signal=USR2", "--kill-whom=main", "load-balancer")
        rig.until(lambda: self.show("MainPID") not in (process, "0"), "another main process")
        rig.until(lambda: not self.machine.path(f"/proc/{process}").exists(), "the end of the old one", 60)
        self.assertTrue(self.ready())
        self.assertEqual((self.show("ActiveState"), self.show("NRestarts")), ("active", "0"))

    def test_it_serves_as_nobody_in_particular(self):
        code, body = self.curl("http://127.0.0.1:5000/home")
        self.assertEqual((code, json.loads(body)["message"]), (200, "Hello from Server: backend-5001"))
        status = self.machine.path(f"/proc/{self.show('MainPID')}/status").read_text()
        self.assertGreaterEqual(int(re.search(r"^Uid:\s+(\d+)", status, re.MULTILINE)[1]), 61184)
        self.assertEqual(set(re.findall(r"^Cap(?:Prm|Eff|Bnd|Amb):\s+(\S+)", status, re.MULTILINE)), {"0" * 16})
        self.assertIn("process_resident_memory_bytes", self.curl("http://127.0.0.1:9901/metrics")[1])
        rig.until(lambda: "/home" in self.machine.path("/var/log/ballast/access.log").read_text(), "a line in the access log")

    def test_the_token_is_in_force_and_hidden(self):
        asked = ("--data", '{"n":1,"hostnames":["nobody"]}')
        self.assertEqual(self.curl("http://127.0.0.1:9901/rm", *asked)[0], 401)
        self.assertEqual(self.curl("http://127.0.0.1:9901/rm", "--header", f"Authorization: Bearer {TOKEN}", *asked)[0], 400)
        self.assertNotIn(TOKEN, self.machine.say("systemctl", "cat", "load-balancer"))

    def test_reload(self):
        process = self.show("MainPID")
        self.addCleanup(lambda: rig.until(lambda: self.replicas() == ["one"], "the old configuration"))
        self.addCleanup(self.machine.say, "systemctl", "reload", "load-balancer")
        self.addCleanup(self.config.write_text, CONFIG)
        self.config.write_text(CONFIG + SECOND)
        self.machine.say("systemctl", "reload", "load-balancer")
        rig.until(lambda: self.replicas() == ["one", "two"], "the second backend")
        self.config.write_text("[pool]\n")
        self.machine.say("systemctl", "reload", "load-balancer")
        failed = "lb_config_last_reload_successful 0"
        rig.until(lambda: failed in self.curl("http://127.0.0.1:9901/metrics")[1], "a refused reload")
        self.assertEqual((self.replicas(), self.show("MainPID")), (["one", "two"], process))

    def test_a_crash_is_followed_by_a_start(self):
        process = self.show("MainPID")
        self.machine.say("kill", "-KILL", process)
        rig.until(lambda: self.show("MainPID") not in (process, "0") and self.ready(), "it runs again")

    def test_stopping_ends_what_is_in_flight(self):
        self.addCleanup(rig.until, self.ready, "the balancer is ready")
        self.addCleanup(self.machine.say, "systemctl", "start", "load-balancer")
        self.addCleanup(self.curl, "http://127.0.0.1:5001/fault", "--data", '{"latency_ms": 0}')
        self.assertLess(self.curl("http://127.0.0.1:5001/fault", "--data", json.dumps({"latency_ms": SLOW_MS}))[0], 300)
        enter = ["nsenter", "--target", str(self.machine.init()), "--all", "curl", "--silent", "--max-time", "20"]
        slow = [*enter, "--write-out", "\n%{http_code}", "http://127.0.0.1:5000/home"]
        with subprocess.Popen(slow, stdout=subprocess.PIPE, text=True) as client:
            in_flight = re.compile(r"^lb_requests_in_flight(\{.*\})? 1$", re.MULTILINE)
            rig.until(lambda: in_flight.search(self.curl("http://127.0.0.1:9901/metrics")[1]), "the slow request in flight")
            self.machine.say("systemctl", "stop", "load-balancer")
            body, _, code = client.communicate(timeout=20)[0].rpartition("\n")
        self.assertEqual(code, "200", body)
        self.assertEqual((self.show("Result"), self.show("ExecMainStatus")), ("success", "0"))

    def test_a_start_with_faults_is_not_repeated(self):
        self.addCleanup(rig.until, self.ready, "the balancer is ready")
        self.addCleanup(self.machine.say, "systemctl", "start", "load-balancer")
        self.addCleanup(self.machine.say, "systemctl", "stop", "load-balancer")
        self.addCleanup(self.config.write_text, CONFIG)
        self.machine.say("systemctl", "stop", "load-balancer")
        self.config.write_text('[pool]\nalgorithm = "fastest"\n')
        self.machine.ask("systemctl", "start", "load-balancer")
        rig.until(lambda: self.show("ActiveState") == "failed", "it has failed")
        self.assertEqual((self.show("ExecMainStatus"), self.show("NRestarts")), ("2", "0"))
        self.assertIn("fastest", self.machine.say("journalctl", "--unit=load-balancer", "--lines=30", "--output=cat", "--no-pager"))
