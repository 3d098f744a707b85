"""What is beside `k8s/`: extras that are applied by those who want them, and overlays."""

import unittest

import manifests
import network
import rules
import yaml
from manifests import EXTRAS, chosen, found, of_kind
from rig import ROOT


class Extras(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.core = manifests.folder()

    def extra(self, name):
        return manifests.folder(EXTRAS / name)

    def keeps(self, objects, *names):
        for rule in rules.ALL:
            if rule.__name__ in names:
                self.assertEqual(list(rule(objects)), [], rule.__name__)

    def test_locust_is_as_closed_as_the_rest_and_reaches_the_balancer_alone(self):
        locust = self.extra("locust")
        self.keeps(locust, "selectors", "references", "mounts", "sizes", "images", "restricted", "resources", "probes")
        more = set(network.open_pairs([*self.core, *locust])) - network.NEEDED
        self.assertEqual(more, {("locust", "load-balancer", "http"), ("prometheus", "locust", "web")})
        [deployment] = manifests.workloads(locust)
        [job] = [job for job in manifests.scrapes(self.core)["scrape_configs"] if job["job_name"] == "locust"]
        [source] = job["kubernetes_sd_configs"]
        self.assertTrue(chosen({"matchLabels": dict([source["selectors"][0]["label"].split("=")])}, deployment.pod_labels))
        self.assertIn(next(rule["regex"] for rule in job["relabel_configs"] if rule.get("action") == "keep"), deployment.ports())
        env = {variable["name"]: variable["value"] for variable in deployment.containers[0]["env"]}
        self.assertTrue(found(self.core, "Service", env["LOCUST_HOST"].removeprefix("http://")))

    def test_node_exporter_is_composes_and_prometheus_finds_it(self):
        objects = self.extra("node-exporter")
        self.keeps(objects, "selectors", "services", "references", "mounts", "images", "resources", "probes")
        [daemons] = manifests.workloads(objects)
        compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["node-exporter"]
        self.assertEqual(daemons.containers[0]["args"], [flag.replace("$$", "$") for flag in compose["command"]])
        [job] = [job for job in manifests.scrapes(self.core)["scrape_configs"] if job["job_name"] == "node_exporter"]
        [service] = of_kind(objects, "Service")
        self.assertEqual(job["dns_sd_configs"], [{
            "names": [f"{service.name}.{service.namespace}.svc.cluster.local"], "type": "A", "port": daemons.ports()["http"],
        }])  # fmt: skip
        [policy] = of_kind(objects, "NetworkPolicy")
        [rule] = policy.spec["ingress"]
        self.assertEqual(rule["ports"], [{"protocol": "TCP", "port": daemons.ports()["http"]}])
        [peer] = rule["from"]
        self.assertEqual(peer["namespaceSelector"]["matchLabels"], {"kubernetes.io/metadata.name": "ballast"})
        self.assertTrue(chosen(peer["podSelector"], found(self.core, "Deployment", "prometheus").pod_labels))

    def test_scaling_is_allowed_for_the_backends_alone(self):
        role, binding = self.extra("scaling")
        [rule] = role.data["rules"]
        self.assertEqual((rule["apiGroups"], rule["resources"], rule["verbs"]), (["apps"], ["deployments/scale"], ["get", "patch"]))
        self.assertEqual(rule["resourceNames"], [one.name for one in manifests.workloads(self.core) if one.name.startswith("backend-")])
        self.assertEqual(binding.data["roleRef"]["name"], role.name)
        [account] = binding.data["subjects"]
        self.assertTrue(found(self.core, account["kind"], account["name"]))

    def test_the_operator_is_given_the_same_rules_and_finds_the_same(self):
        objects = self.extra("operator")
        written = [group for file in sorted((ROOT / "monitoring" / "rules").glob("*.yml")) if file.name != "platform.yml" for group in yaml.safe_load(file.read_text())["groups"]]
        self.assertEqual([group for one in of_kind(objects, "PrometheusRule") for group in one.spec["groups"]], written)
        [services] = of_kind(objects, "ServiceMonitor")
        [service] = [one for one in of_kind(self.core, "Service") if chosen(services.spec["selector"], one.labels)]
        self.assertEqual(service.labels[services.spec["jobLabel"]], "load-balancer")
        self.assertEqual(services.spec["endpoints"][0]["port"], service.spec["ports"][0]["name"])
        [pods] = of_kind(objects, "PodMonitor")
        chosen_pods = [one.name for one in manifests.workloads(self.core) if chosen(pods.spec["selector"], one.pod_labels)]
        self.assertEqual(chosen_pods, ["backend-apac", "backend-eu", "backend-us"])

    def test_overlays_are_what_they_say(self):
        base = yaml.safe_load((EXTRAS / "base" / "kustomization.yaml").read_text())["resources"]
        self.assertEqual(base, [f"../../../k8s/{file.name}" for file in sorted(manifests.FOLDER.iterdir())])
        kind = found(manifests.overlay("kind"), "Service", "load-balancer").spec
        [mapped] = yaml.safe_load((EXTRAS / "kind" / "cluster.yaml").read_text())["nodes"][0]["extraPortMappings"]
        self.assertEqual((kind["type"], kind["ports"][0]["nodePort"]), ("NodePort", mapped["containerPort"]))
        ours = {box["image"] for one in manifests.workloads(manifests.overlay("gke")) for box in one.containers if "ballast" in box["image"]}
        registry = "REGION-docker.pkg.dev/PROJECT/ballast"
        self.assertEqual(ours, {f"{registry}/load-balancer:0.1.0", f"{registry}/backend:0.1.0"})


if __name__ == "__main__":
    unittest.main()
