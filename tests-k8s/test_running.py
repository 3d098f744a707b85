"""The configurations inside the manifests in the programs that they are for: the balancer finds its backends, Prometheus its
targets, probes ask what answers."""

import http.server
import json
import subprocess
import threading
import urllib.parse
import unittest

import cluster
import manifests
import rig
import yaml
from api_server import Api

WITHIN = 30.0
# What a kubelet says, in short: a container of ours, its pod's sandbox, the pod as a whole, somebody else's, and the node.
USED = "container_memory_working_set_bytes"
STARTED = "container_start_time_seconds"
POD = 'namespace="ballast",pod="backend-eu-6d4cf56db6-2xkqp"'
CADVISOR = f"""\
{USED}{{container="backend",id="/kubepods/a/b",image="ballast/backend:local",name="0a1b",{POD}}} 100
{USED}{{container="",id="/kubepods/a/s",image="pause",name="9f8e",{POD}}} 1
{USED}{{container="",id="/kubepods/a",image="",name="",{POD}}} 101
{USED}{{container="other",id="/kubepods/c",image="other",name="7777",namespace="default",pod="other-6d4cf56db6-2xkqp"}} 7
{STARTED}{{container="backend",id="/kubepods/a/b",image="ballast/backend:local",name="0a1b",{POD}}} 5
machine_memory_bytes{{machine_id="1"}} 1000
"""


class Kubelet:
    """Answers at /metrics/cadvisor whoever shows the token."""

    def __init__(self, token):
        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                """Says nothing."""

            def do_GET(self):
                known = self.path == "/metrics/cadvisor" and self.headers.get("Authorization") == f"Bearer {token}"
                self.send_response(200 if known else 401)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(CADVISOR.encode() if known else b"")

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Running(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = rig.directory(f"{cls.__module__}.{cls.__qualname__}")
        cls.api = cls.started(Api())
        cls.pods = cluster.Pods(cls.directory, cls.started)
        cls.api.put(cluster.SLICES, *cls.pods.slices())
        cls.config, cls.balancer = cluster.balancer(cls.directory, cls.api, cls.started)
        rig.until(lambda: cls.balancer.eligible() == len(cls.pods.backends), "every pod eligible")

    @classmethod
    def started(cls, process):
        cls.addClassCleanup(process.stop)
        return process

    def test_the_balancer_finds_every_pod_with_region_and_weight(self):
        self.assertEqual(sorted(self.balancer.replicas()), sorted(self.pods.backends))
        metrics = self.balancer.metrics()
        for name, (owner, address, process) in self.pods.backends.items():
            labels = manifests.found(manifests.folder(), "Service", owner.name).labels
            where = {"backend": name, "address": f"{address}:{self.pods.port}", "region": labels["ballast/region"]}
            self.assertEqual(metrics.sum("lb_backend_info", **where), 1, where)
            # Two pods of 3, 4 and 2 each.
            self.assertAlmostEqual(metrics.sum("lb_backend_weight_ratio", backend=name), int(labels["ballast/weight"]) / 18)
            self.assertGreater(process.answered(), 0)
        self.assertEqual(rig.get(f"{self.balancer.traffic}/home")[0], 200)

    def test_probes_ask_what_answers(self):
        base = {"load-balancer": self.balancer.admin}
        base |= {owner.name: f"http://{address}:{self.pods.port}" for owner, address, _ in self.pods.backends.values()}
        for one in manifests.workloads(manifests.folder()):
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                if one.name in base:
                    path = one.containers[0][kind]["httpGet"]["path"]
                    self.assertEqual(rig.get(base[one.name] + path)[0], 200, f"{one.name} {path}")

    def test_the_image_is_started_as_the_balancer_expects(self):
        dockerfile = (rig.ROOT / "Dockerfile").read_text()
        [container] = manifests.found(manifests.folder(), "Deployment", "load-balancer").containers
        self.assertIn('ENTRYPOINT ["load-balancer"]', dockerfile)
        done = subprocess.run([rig.PROGRAMS / "load-balancer", container["args"][0], "--help"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        [mount] = container["volumeMounts"]
        [key] = manifests.found(manifests.folder(), "ConfigMap", "load-balancer").data["data"]
        self.assertEqual(container["args"][1:], ["--config", f"{mount['mountPath']}/{key}"])

    def test_an_edit_of_the_configmap_is_taken_over_and_a_fault_refused(self):
        text = manifests.settings(manifests.folder())
        asked = lambda result: self.balancer.metrics().sum("lb_config_reloads_total", result=result)  # noqa: E731
        for edited, result, good in (
            (text.replace('drain = "30s"', 'drain = "20s"'), "applied", 1),
            (text.replace('drain = "30s"', 'drain = "half a minute"'), "refused", 0),
            (text, "applied", 1),
        ):
            before = asked(result)
            self.config.hold({"load-balancer.toml": edited})
            rig.until(lambda: asked(result) == before + 1, f"{result}: {edited}")
            self.assertEqual(self.balancer.metrics().sum("lb_config_last_reload_successful"), good)
        self.assertEqual(self.balancer.eligible(), len(self.pods.backends))

    def check(self, text):
        file = self.directory / "checked.toml"
        file.write_text(text)
        argv = [rig.PROGRAMS / "load-balancer", "check", "--config", file]
        return subprocess.run(argv, capture_output=True, text=True, env=rig.environment(), check=False)

    def test_the_configuration_is_valid(self):
        text = manifests.settings(manifests.folder())
        done = self.check(text)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotEqual(self.check(text.replace("region_label", "region_lable")).returncode, 0)

    def test_prometheus_finds_who_is_there_under_the_names_that_rules_know(self):
        objects = manifests.folder()
        kubelet = self.started(Kubelet("secret"))
        owner = manifests.found(objects, "Deployment", "load-balancer")
        ports = {"http": int(self.balancer.traffic.rpartition(":")[2]), "admin": int(self.balancer.admin.rpartition(":")[2])}
        self.api.put(cluster.PODS, cluster.pod(owner, "load-balancer-5c9f7d8b4-abcde", "127.0.0.1", ports))
        self.api.put(cluster.PODS, cluster.pod(owner, "load-balancer-5c9f7d8b4-ended", "127.0.0.1", ports, "Succeeded"))
        for name, (one, address, _) in self.pods.backends.items():
            self.api.put(cluster.PODS, cluster.pod(one, name, address, {"http": self.pods.port}))
        self.api.put(cluster.NODES, cluster.node("node-1", "127.0.0.1", kubelet.port))
        prometheus = self.started(Prometheus(self.directory, self.api.url))
        wanted = {("load-balancer", "load-balancer-5c9f7d8b4-abcde"), ("cadvisor", "node-1"), ("prometheus", prometheus.address)}
        wanted |= {("backends", name) for name in self.pods.backends}
        rig.until(lambda: prometheus.up() == wanted, f"targets {wanted}", WITHIN)
        told = rig.until(lambda: prometheus.ask(USED + '{name!=""}'), "a container's series", WITHIN)
        self.assertEqual(sorted(float(one["value"][1]) for one in told), [1, 100])
        for one in told:
            named = (one["metric"]["name"], one["metric"]["container_label_com_docker_compose_service"], one["metric"]["instance"])
            self.assertEqual(named, ("backend-eu-6d4cf56db6-2xkqp", "backend-eu", "node-1"))
        self.assertEqual(prometheus.ask(USED + '{namespace!="ballast"}'), [])
        # Starts of one container are counted whatever id each has.
        self.assertEqual(prometheus.ask(STARTED + '{id!=""}'), [])
        self.assertEqual(len(rig.until(lambda: prometheus.ask(STARTED), "a container's start", WITHIN)), 1)
        self.assertEqual(len(prometheus.ask("machine_memory_bytes")), 1)
        # The rules that are mounted, all of them, with nothing to complain of.
        judged = lambda: [rule["health"] for group in prometheus.api("rules")["groups"] for rule in group["rules"]]  # noqa: E731
        rig.until(lambda: set(judged()) == {"ok"}, "every rule evaluated", WITHIN)
        mounted = manifests.found(objects, "ConfigMap", "prometheus-rules").data["data"].values()
        self.assertEqual(len(judged()), sum(len(group["rules"]) for text in mounted for group in yaml.safe_load(text)["groups"]))


class Prometheus(rig.Process):
    """Prometheus with the ConfigMaps' configuration and rules; only the API server, the token's file and the intervals are others."""

    def __init__(self, directory, api):
        objects = manifests.folder()
        config = manifests.scrapes(objects)
        self.address = f"127.0.0.1:{rig.free_port()}"
        token = directory / "token"
        token.write_text("secret")
        rules = directory / "rules"
        rules.mkdir()
        for name, text in manifests.found(objects, "ConfigMap", "prometheus-rules").data["data"].items():
            (rules / name).write_text(text)
        config["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [f"{rules}/*.yml"]
        for job in config["scrape_configs"]:
            if "authorization" in job:
                job["authorization"]["credentials_file"] = str(token)
                job["scheme"] = "http"
            for source in job.get("kubernetes_sd_configs", []):
                source["api_server"] = api
                if "namespaces" in source:
                    assert source["namespaces"] == {"own_namespace": True}, source
                    source["namespaces"] = {"names": ["ballast"]}
            for source in job.get("static_configs", []):
                source["targets"] = [self.address]
        file = directory / "prometheus.yml"
        file.write_text(yaml.safe_dump(config))
        super().__init__(
            directory / "prometheus", manifests.PROMETHEUS, f"--config.file={file}", f"--web.listen-address={self.address}",
            f"--storage.tsdb.path={directory / 'data'}",
        )  # fmt: skip
        self.said(r"Server is ready to receive web requests", self.err)

    def api(self, path):
        code, text = rig.get(f"http://{self.address}/api/v1/{path}")
        assert code == 200, text
        return json.loads(text)["data"]

    def up(self):
        """Job and instance of every target that answers; one that does not is a failure of discovery's."""
        return {(one["labels"]["job"], one["labels"]["instance"]) for one in self.api("targets?state=active")["activeTargets"] if one["health"] == "up"}

    def ask(self, query):
        return self.api("query?query=" + urllib.parse.quote(query))["result"]


if __name__ == "__main__":
    unittest.main()
