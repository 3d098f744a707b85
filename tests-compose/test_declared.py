"""What docker-compose.yml says, as compose understands it, for all services: also those that cannot be started here."""

import ipaddress
import re
import subprocess
import tomllib
import unittest
from pathlib import Path

import rig
import stack
import standins

IMAGES = {
    "cadvisor": "ghcr.io/google/cadvisor:0.60.5",
    "grafana": "grafana/grafana:13.2.3",
    "influxdb": "influxdb:1.12.4",
    "locust": "locustio/locust:2.46.6",
    "node-exporter": "quay.io/prometheus/node-exporter:v1.12.1",
    "prometheus": "prom/prometheus:v3.14.0",
    "redis": "redis:8.10.1-alpine",
}
BACKENDS = [f"backend{n}" for n in range(1, 7)]
# The host's own, which cAdvisor and node-exporter look at.
HOST = ("/", "/dev/disk", "/sys", "/var/lib/docker", "/var/run")


def seconds(text):
    """Of "1m30s"."""
    return sum(int(number) * {"h": 3600, "m": 60, "s": 1}[unit] for number, unit in re.findall(r"(\d+)([hms])", text))


class Declared(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = stack.copy(rig.directory(f"{cls.__module__}.{cls.__qualname__}"))
        declared = stack.declared(cls.root)
        cls.services, cls.networks = declared["services"], declared["networks"]
        cls.balancer = tomllib.loads((cls.root / "deploy/compose/load-balancer.toml").read_text())

    def test_the_services_and_their_images(self):
        self.assertEqual(sorted(self.services), sorted([*IMAGES, *BACKENDS, "load-balancer"]))
        for name, image in IMAGES.items():
            self.assertEqual(self.services[name]["image"], image)
        built = {name for name, one in self.services.items() if "build" in one}
        self.assertEqual(built, {*BACKENDS, "load-balancer"})

    def test_the_ports(self):
        published = {
            (port["published"], port.get("host_ip", "")) for one in self.services.values() for port in one.get("ports", [])
        }
        local = [3000, *range(5001, 5007), 6379, 8080, 8086, 8089, 9090, 9100, 9901]
        self.assertEqual(published, {("5000", ""), *((str(port), "127.0.0.1") for port in local)})

    def test_every_service_is_closed_limited_and_watched(self):
        for name, one in self.services.items():
            self.assertTrue(one["read_only"], name)
            if name == "cadvisor":
                self.assertTrue(one["privileged"])
            else:
                self.assertFalse(one.get("privileged", False), name)
                self.assertEqual((one["cap_drop"], one["security_opt"]), (["ALL"], ["no-new-privileges:true"]), name)
            self.assertGreater(min(int(one["mem_limit"]), one["pids_limit"]), 0, name)
            # A balancer that is throttled slows every request.
            self.assertEqual(float(one.get("cpus", 0)) > 0, name != "load-balancer", name)
            self.assertEqual(one["logging"]["options"], {"max-file": "3", "max-size": "10m"}, name)
            self.assertEqual(one["restart"], "unless-stopped", name)
            # The others' is part of their image.
            if name not in (*BACKENDS, "load-balancer", "cadvisor"):
                self.assertIn("healthcheck", one, name)

    def test_backends_differ_and_are_what_the_balancer_takes_them_for(self):
        members = {member["name"]: member for member in self.balancer["pool"]["backend"]}
        self.assertEqual(list(members), BACKENDS)
        for name, member in members.items():
            one = self.services[name]
            told = one["environment"]
            self.assertEqual(member["address"], f"{name}:5000")
            self.assertEqual((told["SERVER_ID"], told["REGION"], told["WEIGHT"]), (name, member["region"], str(member["weight"])))
            self.assertFalse(told["FAULT"])
        self.assertEqual([members[name]["region"] for name in BACKENDS], ["APAC", "EU", "US"] * 2)
        self.assertEqual([members[name]["weight"] for name in BACKENDS], [2, 3, 1, 3, 4, 2])
        by_weight = sorted(BACKENDS, key=lambda name: (members[name]["weight"], name))
        for limit in ("cpus", "mem_limit"):
            sizes = [float(self.services[name][limit]) for name in by_weight]
            self.assertEqual(sizes, sorted(sizes), limit)
            self.assertGreaterEqual(len(set(sizes)), 4, limit)

    def test_prometheus_keeps_what_the_error_budget_looks_back_on(self):
        flags = dict(flag.split("=", 1) for flag in self.services["prometheus"]["command"])
        self.assertGreater(flags["--storage.tsdb.retention.time"], "30d")
        self.assertRegex(flags["--storage.tsdb.retention.time"], r"^\d{2}d$")
        self.assertRegex(flags["--storage.tsdb.retention.size"], r"^\d+GB$")

    def test_addresses_given_out_leave_locusts_alone(self):
        [pool] = self.networks["traffic"]["ipam"]["config"]
        fixed = ipaddress.ip_address(self.services["locust"]["networks"]["traffic"]["ipv4_address"])
        self.assertIn(fixed, ipaddress.ip_network(pool["subnet"]))
        self.assertNotIn(fixed, ipaddress.ip_network(pool["ip_range"]))

    def test_stopping_waits_longer_than_draining(self):
        drain = self.balancer.get("timeouts", {}).get("drain", "30s")
        self.assertGreater(seconds(self.services["load-balancer"]["stop_grace_period"]), seconds(drain))
        for name in BACKENDS:
            # backend::STOP_WITHIN
            self.assertGreater(seconds(self.services[name]["stop_grace_period"]), 10)

    def test_what_has_to_be_there_first(self):
        first = {name: {other: how["condition"] for other, how in one.get("depends_on", {}).items()} for name, one in self.services.items()}
        self.assertEqual(first["prometheus"], {"influxdb": "service_healthy"})
        self.assertEqual(first["grafana"], {"prometheus": "service_healthy"})
        self.assertEqual(first["locust"], {"load-balancer": "service_healthy"})
        self.assertEqual(first["load-balancer"], dict.fromkeys([*BACKENDS, "redis"], "service_started"))

    def test_what_is_mounted_is_there(self):
        for name, one in self.services.items():
            for mount in one.get("volumes", []):
                if mount["type"] != "bind" or (mount["source"].rstrip("/") or "/") in HOST:
                    continue
                source = Path(mount["source"])
                self.assertTrue(source.exists(), f"{name} mounts {source.relative_to(self.root)}, which is not there")
                self.assertTrue(mount["read_only"], f"{name} may write {source}")

    def test_without_secrets_nothing_is_opened(self):
        self.assertFalse((self.root / ".env").exists())
        self.assertEqual(self.services["load-balancer"]["environment"]["BALLAST_CONTROL__TOKEN"], "")
        self.assertEqual(self.services["load-balancer"]["environment"]["BALLAST_STORE__URL"], "redis://:@redis:6379")
        self.assertEqual(self.services["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"], "admin")

    def test_settings_move_what_they_say(self):
        moved = stack.declared(self.root, BIND="192.0.2.1", SUBNET="10.1.2", PROFILE="dev")["services"]
        published = {(name, port.get("host_ip")) for name, one in moved.items() for port in one.get("ports", [])}
        self.assertEqual({name for name, address in published if address == "192.0.2.1"}, {"grafana"})
        self.assertEqual({name for name, address in published if address is None}, {"load-balancer"})
        self.assertEqual(moved["locust"]["networks"]["traffic"]["ipv4_address"], "10.1.2.200")
        self.assertEqual(moved["load-balancer"]["environment"]["BALLAST_CLIENT__TRUSTED_PROXIES"], '["10.1.2.200/32"]')
        self.assertEqual(moved["backend3"]["build"]["args"]["PROFILE"], "dev")

    def test_make_start_says_what_is_missing(self):
        bare = {**standins.environment(), "PATH": str(self.programs("bash", "dirname", "make", "sh"))}
        done = subprocess.run(["make", "start"], cwd=self.root, env=bare, capture_output=True, text=True, timeout=30, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("docker is missing", done.stderr)
        self.assertIn("apt-get install", done.stderr)
        self.assertFalse((self.root / ".env").exists())

    def programs(self, *names):
        """A directory with only these."""
        directory = self.root.parent / "bin"
        directory.mkdir()
        for name in names:
            (directory / name).symlink_to(standins.run_out("which", name).strip())
        return directory
