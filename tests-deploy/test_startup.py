"""The startup script on machines of their own: a real systemd, journal, apt, Docker and Google's own script runner.

What is not real: Google's cloud (`cloud`), Debian's servers (a directory of packages), the images' contents (`images`) and
the limits of memory, processes and processor, for which this kernel may have no controllers to give. It never ran on a VM of Google's.
"""

import hashlib
import json
import re
import shutil
import tarfile

import cloud
import images
import machine
import rig
import stack
import standins

SCRIPT = rig.ROOT / "deploy/gcp/startup-script.sh"
UNITS = ("ballast-balancer", "ballast-prometheus", "ballast-redis")
BALANCER = f"{cloud.PRIVATE}/a-project/ballast/load-balancer:0.1.0"
BACKEND = f"{cloud.PRIVATE}/a-project/ballast/backend:0.1.0"
SECRETS = {"the_token": "token-of-the-secret-manager", "the_password": "password-of-the-secret-manager\n"}
# On the first boot nothing listens there: the balancer runs, and has nobody.
GOOD = {
    "lb_image": BALANCER,
    "lb_backends": "one=127.0.0.1:7001, two=127.0.0.1:7002",
    "lb_token_secret": "the-token",
    "redis_password_secret": "the-password/versions/7",
}
FAULTY = '[pool]\nalgorithm = "fastest"\n'


class Case(machine.Case):
    """The machine's tests run in the order of their names."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.cloud.secrets(**SECRETS)

    def attributes(self, **attributes):
        """These, and the script; only what it waits for apt is shorter."""
        self.cloud.attributes(startup_script=SCRIPT.read_text().replace("APT_PAUSE_SECONDS=15", "APT_PAUSE_SECONDS=0"), **attributes)

    def refused(self, code, pattern, **attributes):
        """One run with these attributes ends with `code`, and its last line has the reason."""
        self.attributes(**attributes)
        status, said = self.machine.run()
        self.assertEqual(status, code, said)
        last = self.machine.log().splitlines()[-1]
        self.assertRegex(last, rf"^\d{{4}}-\d\d-\d\dT\S+Z error \({code}\): .*{pattern}")
        self.assertIn(last.split(" ", 1)[1], said)
        return said


class Core(Case):
    """Redis, Prometheus and the balancer, from the first boot to a later life."""

    def test_1_the_first_boot(self):
        named = {**standins.tags(), "balancer": BALANCER, "backend": BACKEND}
        images.publish(self.cloud.directory, {name: what for what, name in named.items()})
        self.attributes(**GOOD)
        self.machine.boot()
        status, said = self.machine.started()
        log = self.machine.log()
        self.assertEqual(status, 0, log)
        self.assertRegex(log.splitlines()[-1], "done: the core stack is up; changed: .*ballast-balancer.service")
        self.assertIn("warning: the balancer has no eligible backend yet", log)
        for line in ("installing docker.io docker-cli", f"fetching {BALANCER}"):
            self.assertIn(line, log)
            self.assertIn(line, said)
        for unit in UNITS:
            self.assertEqual(self.machine.say("systemctl", "is-active", unit), "active\n")
            self.assertEqual(self.machine.say("systemctl", "is-enabled", unit), "enabled\n")
        self.assertIn("loadbalancer", self.curl("http://127.0.0.1:9090/api/v1/targets").replace("-", ""))
        self.assertEqual(json.loads(self.curl("http://127.0.0.1:9901/rep"))["message"]["replicas"], ["one", "two"])

    def test_2_secrets_are_in_their_files_alone(self):
        for name, secret in (("token", SECRETS["the_token"]), ("redis-password", SECRETS["the_password"].strip())):
            file = f"/etc/ballast/secrets/{name}"
            self.assertEqual(self.machine.say("stat", "--format=%a %u", file), "600 65532\n")
            self.assertEqual(self.machine.path(file).read_text(), secret)
        secrets = (cloud.TOKEN, SECRETS["the_token"], SECRETS["the_password"].strip())
        places = {
            "log": self.machine.log(),
            "journal": self.machine.say("journalctl", "--output=cat", "--no-pager"),
            "arguments": self.machine.say("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"),
            "units": "".join(self.machine.path(f"/etc/systemd/system/{unit}.service").read_text() for unit in UNITS),
            "containers": self.machine.say("docker", "inspect", *UNITS),
        }
        for place, text in places.items():
            self.assertTrue(text)
            for secret in secrets:
                self.assertNotIn(secret, text, place)
        self.assertEqual(self.machine.say("sh", "-c", "ls -d /run/ballast-startup.*").split(), ["/run/ballast-startup.lock"])
        # They are what is in force.
        ping = self.machine.say("docker", "exec", "ballast-redis", "sh", "-c", 'REDISCLI_AUTH="$(cat /run/secrets/redis-password)" redis-cli ping')
        self.assertEqual(ping, "PONG\n")
        self.assertIn("NOAUTH", self.machine.ask("docker", "exec", "ballast-redis", "redis-cli", "ping").stdout)
        self.assertIn("lb_balancers_live", self.curl("http://127.0.0.1:9901/metrics"))
        self.assertIn("401", self.curl("http://127.0.0.1:9901/rm", "--data", '{"n":1}', "--write-out", "%{http_code}"))

    def test_3_containers_are_closed(self):
        for name, one in ((unit, json.loads(self.machine.say("docker", "inspect", unit))[0]) for unit in UNITS):
            host = one["HostConfig"]
            self.assertTrue(host["ReadonlyRootfs"], name)
            self.assertEqual((host["CapDrop"], host["SecurityOpt"]), (["ALL"], ["no-new-privileges"]), name)
            self.assertNotIn(one["Config"]["User"], ("", "root", "0"), name)

    def test_4_a_second_boot_changes_nothing(self):
        # Now there are backends.
        shutil.copy(rig.PROGRAMS / "backend", self.machine.path("/usr/local/bin"))
        shutil.copy(rig.ROOT / "deploy/systemd/backend@.service", self.machine.path("/etc/systemd/system"))
        self.machine.say("systemctl", "enable", "backend@7001", "backend@7002")
        before = self.files()
        fetched = len([line for line in self.cloud.asked() if "/blobs/" in line])
        self.machine.reboot()
        status, said = self.machine.started()
        self.assertEqual(status, 0, said)
        self.assertRegex(self.machine.log().splitlines()[-1], "done: the core stack is up; nothing has changed$")
        self.assertNotIn("warning", said)
        self.assertIn("Hello from Server", self.curl("http://127.0.0.1:5000/home"))
        self.assertEqual(self.files(), before)
        self.assertEqual(len([line for line in self.cloud.asked() if "/blobs/" in line]), fetched)
        since = self.processes()
        self.assertEqual(self.machine.run()[0], 0)
        self.assertEqual(self.processes(), since, "a run that changes nothing restarts nothing")

    def test_5_a_changed_attribute_restarts_what_it_concerns(self):
        before = self.processes()
        self.attributes(**GOOD | {"lb_backends": "three=127.0.0.1:7001"})
        status, said = self.machine.run()
        self.assertEqual(status, 0, said)
        after = self.processes()
        self.assertEqual({unit for unit in UNITS if after[unit] != before[unit]}, {"ballast-balancer"})
        self.assertEqual(json.loads(self.curl("http://127.0.0.1:9901/rep"))["message"]["replicas"], ["three"])

    def test_6_what_is_refused_leaves_what_runs(self):
        before, files = self.processes(), self.files()
        faulty = {key: value for key, value in GOOD.items() if key != "lb_backends"} | {"lb_config": FAULTY}
        said = self.refused(2, "refuses its configuration", **faulty)
        self.assertIn("fastest", said)
        self.refused(3, "cannot be fetched", **GOOD | {"lb_image": "ballast/load-balancer:9.9.9"})
        self.assertEqual((self.processes(), self.files()), (before, files))

    def test_7_a_run_after_one_that_failed_ends_its_work(self):
        before, files, redis = self.processes(), self.files(), "/etc/ballast/redis.conf"
        self.addCleanup(self.cloud.secrets, **SECRETS)
        self.cloud.secrets(**SECRETS | {"the_token": "another-token-of-theirs", "the_password": "another-password"})
        self.refused(3, "cannot be fetched", **GOOD | {"lb_image": "ballast/load-balancer:9.9.9"})
        self.assertEqual((self.processes(), self.files()), (before, files))
        self.attributes(**GOOD)
        status, said = self.machine.run()
        self.assertEqual(status, 0, said)
        after = self.processes()
        self.assertEqual({unit for unit in UNITS if after[unit] != before[unit]}, {"ballast-balancer", "ballast-redis"})
        self.assertIn("another-password", self.machine.path(redis).read_text())
        asked = ("http://127.0.0.1:9901/rm", "--data", '{"n":1,"hostnames":["nobody"]}', "--output", "/dev/null", "--write-out", "%{http_code}")
        for token, code in ((SECRETS["the_token"], "401"), ("another-token-of-theirs", "400")):
            self.assertEqual(self.curl(*asked, "--header", f"Authorization: Bearer {token}"), code)
        for unit in UNITS:
            self.assertNotIn("another-", self.machine.path(f"/etc/systemd/system/{unit}.service").read_text())

    def test_7_a_redis_elsewhere_takes_the_place_of_ours(self):
        elsewhere = "redis://127.0.0.1:6390"
        server = ("redis-server", "--port", "6390", "--requirepass", SECRETS["the_password"].strip(), "--save", "", "--dir", "/data")
        host = ("docker", "run", "--rm", "--detach", "--name", "elsewhere", "--network", "host", "--log-driver", "none", "--tmpfs", "/data")
        self.machine.say(*host, standins.tags()["redis"], *server)
        self.addCleanup(self.machine.ask, "docker", "rm", "--force", "elsewhere")
        self.attributes(**GOOD | {"redis_url": elsewhere})
        status, said = self.machine.run()
        self.assertEqual(status, 0, said)
        self.assertIn("ending ballast-redis", said)
        self.assertFalse(self.machine.path("/etc/systemd/system/ballast-redis.service").exists())
        keys = 'REDISCLI_AUTH="$(cat /etc/ballast/secrets/redis-password)" docker exec --env REDISCLI_AUTH elsewhere redis-cli -p 6390 keys "*"'
        rig.until(lambda: ":live" in self.machine.say("sh", "-c", keys), "the balancer says there that it lives")
        self.assertEqual(self.machine.run()[0], 0)
        self.assertRegex(self.machine.log().splitlines()[-1], "nothing has changed$")
        self.attributes(**GOOD)
        status, said = self.machine.run()
        self.assertEqual(status, 0, said)
        self.assertEqual(self.machine.say("systemctl", "is-active", *UNITS), "active\n" * len(UNITS))

    def test_7_a_service_that_dies_is_started_again(self):
        before = self.processes()["ballast-balancer"]
        self.machine.say("docker", "kill", "ballast-balancer")
        rig.until(lambda: self.processes()["ballast-balancer"] not in (before, "0"), "the balancer runs again")

    def test_8_a_service_that_cannot_run_is_told_with_its_journal(self):
        said = self.refused(5, "ballast-prometheus .*journalctl -u ballast-prometheus", **GOOD | {"prometheus_config": "scrape_configs: 3"})
        self.assertIn("cannot unmarshal", said)
        self.attributes(**GOOD)
        self.assertEqual(self.machine.run()[0], 0)

    def test_9_the_whole_stack_takes_over(self):
        archive = self.cloud.directory / "ballast.tar.gz"
        root = stack.copy(self.directory)
        compose = root / "docker-compose.yml"
        # Docker refuses limits of the processor, other than those of memory, where the kernel has no controller to give.
        text = re.sub(r"^ +cpus: .*\n", "", compose.read_text(), flags=re.MULTILINE)
        # It is started three times; each service is waited for until its first check, and some for those before.
        compose.write_text(re.sub(r"interval: \d+s\n( +timeout: \d+s\n +)retries: \d+", r"interval: 1s\n\1retries: 60", text))
        with tarfile.open(archive, "w:gz", compresslevel=1) as packed:
            for part in ("docker-compose.yml", "deploy", "monitoring", "grafana", "locustfile.py"):
                packed.add(root / part, f"ballast-main/{part}")
        whole = {
            "lb_stack": "full", "lb_image": BALANCER, "backend_image": BACKEND, "lb_source": f"https://{cloud.ARCHIVES}/ballast.tar.gz",
            "lb_source_sha256": hashlib.sha256(archive.read_bytes()).hexdigest(), "lb_token_secret": "the-token",
        }  # fmt: skip
        self.refused(3, "lb-source-sha256", **whole | {"lb_source_sha256": "0" * 64})
        before = self.processes()
        self.refused(2, "refuses its configuration", **whole | {"lb_config": FAULTY})
        self.assertEqual(self.processes(), before, "core goes on")
        self.attributes(**whole)
        status, said = self.machine.run()
        self.assertEqual(status, 0, said)
        self.assertIn("ending ballast-balancer", said)
        running = self.machine.say("docker", "ps", "--format", "{{.Names}} {{.Image}}").splitlines()
        # Seven images of others', six backends, the balancer.
        self.assertEqual(len(running), 14, running)
        self.assertIn(f"ballast-load-balancer-1 {BALANCER}", running)
        self.assertIn(f"ballast-backend6-1 {BACKEND}", running)
        self.assertIn("Hello from Server", self.curl("http://127.0.0.1:5000/home"))
        [env] = self.machine.say("sh", "-c", "ls -d /opt/ballast/*/.env").split()
        self.assertEqual(self.machine.say("stat", "--format=%a %u", env), "600 0\n")
        self.assertIn(f"BALLAST_TOKEN={SECRETS['the_token']}\n", self.machine.path(env).read_text())
        self.assertEqual(self.machine.run()[0], 0)
        self.assertRegex(self.machine.log().splitlines()[-1], "nothing has changed$")
        self.the_whole_stack_later(whole, env)

    def the_whole_stack_later(self, whole, env):
        """Refusals that leave it as it is, a run after one, and a configuration that comes and goes."""

        def containers():
            return sorted(self.machine.say("docker", "ps", "--quiet", "--no-trunc").split())

        before, written = containers(), self.machine.path(env).read_text()
        without = {key: value for key, value in GOOD.items() if key != "lb_backends"}
        self.refused(2, "refuses its configuration", **without | {"lb_config": FAULTY})
        self.addCleanup(self.cloud.secrets, **SECRETS)
        self.cloud.secrets(**SECRETS | {"the_token": "another-token-of-theirs"})
        self.refused(3, "cannot be fetched", **whole | {"lb_image": "ballast/load-balancer:9.9.9"})
        self.assertEqual((containers(), self.machine.path(env).read_text()), (before, written))
        config = self.machine.path(env.replace(".env", "deploy/compose/load-balancer.toml"))
        original = config.read_text()
        for given, wanted in (({"lb_config": original.replace("adaptive", "random")}, "random"), ({}, "adaptive")):
            self.attributes(**whole | given)
            status, said = self.machine.run()
            self.assertEqual(status, 0, said)
            self.assertIn(f'algorithm = "{wanted}"', config.read_text())
        self.assertEqual(config.read_text().strip(), original.strip())
        balancer = self.machine.say("docker", "inspect", "--format={{.Config.Env}}", "ballast-load-balancer-1")
        self.assertIn("BALLAST_CONTROL__TOKEN=another-token-of-theirs ", balancer)

    def curl(self, url, *arguments):
        return self.machine.say("curl", "--silent", "--show-error", "--max-time", "10", *arguments, url)

    def files(self):
        """What the script writes, with times and owners."""
        return self.machine.say("sh", "-c", "find /etc/ballast /etc/systemd/system -printf '%p %T@ %m %U %i\\n' | sort")

    def processes(self):
        """The main process of each unit."""
        return {unit: self.machine.say("systemctl", "show", "--property=MainPID", "--value", unit).strip() for unit in UNITS}


class Refusals(Case):
    """What ends a run before Docker is there; one machine, many runs."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.machine.boot()
        # There is no script yet.
        cls.machine.started()

    def test_attributes_that_are_wrong(self):
        wrong = {
            "lb-image": [{"lb_image": None}, {"lb_image": "ballast/load-balancer"}, {"lb_image": "ballast/load-balancer:latest"}],
            "lb-stack": [{"lb_stack": "all"}],
            "lb-backends": [{"lb_backends": "10.0.0.5:8080"}, {"lb_backends": None}, {"lb_config": "[pool]"}],
            "lb-token-secret": [{"lb_token_secret": "projects/1/secrets/x"}],
            "redis-url": [{"redis_url": "redis://:password@10.0.0.9:6379"}, {"redis_url": "10.0.0.9:6379"}],
            "redis-password-secret": [{"redis_url": "redis://10.0.0.9:6379", "redis_password_secret": None}],
            "lb-source": [{"lb_stack": "full", "backend_image": BACKEND, "lb_source": "http://example.com/ballast.tar.gz"}],
        }
        for attribute, cases in wrong.items():
            for case in cases:
                with self.subTest(attribute=attribute, case=case):
                    given = {key: value for key, value in (GOOD | case).items() if value is not None}
                    self.refused(2, f"attribute {attribute}: ", **given)
        self.assertFalse(self.machine.path("/etc/ballast").exists(), "it has touched something before it has read everything")

    def test_what_is_wrong_is_not_repeated(self):
        said = self.refused(2, "attribute lb-token-secret", **GOOD | {"lb_token_secret": "this is the secret itself"})
        self.assertNotIn("this is the secret itself", said)

    def test_secrets_that_cannot_be_had(self):
        self.addCleanup(self.cloud.secrets, **SECRETS)
        self.refused(4, "Secret Manager answers 404 for nowhere", **GOOD | {"lb_token_secret": "nowhere"})
        self.cloud.secrets(the_token="Zwetschgen\nknoedel", the_password="short")
        said = self.refused(4, "the-token must be", **GOOD | {"redis_password_secret": ""})
        self.assertNotIn("Zwetschgen", said)
        self.assertNotIn("knoedel", said)
        self.cloud.secrets(**SECRETS | {"the_password": "short"})
        self.refused(4, "the-password/versions/7 must be", **GOOD)
        # The balancer would not take it.
        self.cloud.secrets(**SECRETS | {"the_token": "fifteen-letters"})
        self.refused(4, "the-token must be 16 to 256 letters", **GOOD)
        self.assertFalse(self.machine.path("/etc/ballast").exists())

    def test_packages_that_cannot_be_had(self):
        sources = self.machine.path("/etc/apt/sources.list")
        self.addCleanup(sources.write_text, sources.read_text())
        sources.write_text("deb [trusted=yes] file:/srv/nothing ./\n")
        self.refused(3, "apt-get cannot install docker.io docker-cli", **GOOD)
        self.assertFalse(self.machine.path("/etc/ballast").exists(), "secrets are written before there is anything to use them")

    def test_what_nobody_foresaw_is_told_with_its_line(self):
        script = SCRIPT.read_text().replace("    read_settings\n", "    ls /nowhere\n")
        self.cloud.attributes(startup_script=script, **GOOD)
        status, said = self.machine.run()
        line = script.splitlines().index("    ls /nowhere") + 1
        self.assertEqual(status, 1, said)
        self.assertIn(f"error (1): line {line}: ls /nowhere", said)

    def test_another_run_is_waited_for(self):
        script = SCRIPT.read_text().replace("LOCK_SECONDS=600", "LOCK_SECONDS=1")
        self.cloud.attributes(startup_script=script, **GOOD)
        held = "flock /run/ballast-startup.lock google_metadata_script_runner startup"
        status, said = machine.status(self.machine.say("sh", "-c", held))
        self.assertEqual(status, 7, said)
        self.assertRegex(said, r"error \(7\): another run")

    def test_the_metadata_server_is_silent(self):
        script = SCRIPT.read_text().replace("169.254.169.254", "127.0.0.9").replace("--retry 5", "--retry 1")
        self.cloud.attributes(startup_script=script, **GOOD)
        status, said = self.machine.run()
        self.assertEqual(status, 6, said)
        self.assertRegex(said, r"error \(6\): the metadata server does not answer")

    def test_the_metadata_server_has_no_token(self):
        asks = 'metadata "$work/token" '
        written = SCRIPT.read_text().replace("--retry 5", "--retry 1")
        self.assertIn(asks, written)
        silent = written.replace(asks, f"METADATA=http://127.0.0.9 {asks}")
        nobody = written.replace("service-accounts/default/", "service-accounts/nobody/")
        for script, code, said in ((silent, 6, "the metadata server does not answer"), (nobody, 4, "this VM has no service account")):
            with self.subTest(said):
                self.cloud.attributes(startup_script=script, **GOOD)
                status, log = self.machine.run()
                self.assertEqual(status, code, log)
                self.assertRegex(log, rf"error \({code}\): {said}")
