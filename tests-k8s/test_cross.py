"""The manifests hold together, and each rule that says so can be broken."""

import unittest

import contents
import manifests
import network
import rules
import yaml

RULES = {rule.__name__: rule for rule in (*rules.ALL, *network.ALL, *contents.ALL)}
# Rule, and the change that it must find: kind, name, way into the object, what is put there (None takes it out).
POD = ("spec", "template", "spec")
BOX = (*POD, "containers", 0)
BALANCER, BACKEND = ("Deployment", "load-balancer"), ("Deployment", "backend-eu")
BROKEN = [
    ("kinds", "Service", "redis", ("metadata", "namespace"), "default"),
    ("kinds", "Service", "redis", ("apiVersion",), "monitoring.coreos.com/v1"),
    ("kinds", "Service", "redis", ("metadata", "name"), "grafana"),
    ("kinds", "Service", "redis", ("kind",), "Secret"),
    ("kinds", "Namespace", "ballast", ("kind",), "ClusterRole"),
    ("selectors", *BACKEND, ("spec", "template", "metadata", "labels", "ballast/region"), "US"),
    ("selectors", *BACKEND, ("spec", "selector", "matchLabels", "ballast/region"), None),
    ("selectors", *BALANCER, (*POD, "topologySpreadConstraints", 0, "labelSelector", "matchLabels"), {"app": "x"}),
    ("services", "Service", "redis", ("spec", "selector", "app.kubernetes.io/name"), "redi"),
    ("services", "Service", "redis", ("spec", "ports", 0, "targetPort"), "http"),
    ("services", "Service", "load-balancer", ("spec", "selector"), {"app.kubernetes.io/part-of": "ballast"}),
    ("references", *BALANCER, (*POD, "volumes", 0, "configMap", "name"), "balancer"),
    ("references", *BALANCER, (*POD, "serviceAccountName"), "default"),
    ("references", *BALANCER, (*BOX, "env", 0, "valueFrom", "secretKeyRef", "optional"), None),
    ("references", *BALANCER, (*BOX, "env", 0, "valueFrom", "secretKeyRef", "name"), "token"),
    ("references", "Deployment", "grafana", (*POD, "volumes", 2, "configMap", "items", 0, "key"), "p.yml"),
    ("references", "Deployment", "grafana", (*POD, "volumes", 3, "projected", "sources", 0, "configMap", "name"), "more"),
    ("references", "PersistentVolumeClaim", "prometheus", ("metadata", "name"), "data"),
    ("mounts", *BALANCER, (*BOX, "volumeMounts", 0, "name"), "settings"),
    ("mounts", *BALANCER, (*BOX, "volumeMounts", 0, "subPath"), "load-balancer.toml"),
    ("rights", "Role", "load-balancer", ("rules", 0, "verbs", "+"), "delete"),
    ("rights", "Role", "load-balancer", ("rules", 0, "resources", "+"), "secrets"),
    ("rights", "Role", "prometheus", ("rules", 0, "verbs"), ["*"]),
    ("rights", "ClusterRole", "ballast-prometheus", ("rules", 1, "resources", "+"), "nodes/proxy"),
    ("rights", "RoleBinding", "load-balancer", ("roleRef", "name"), "balancer"),
    ("rights", "RoleBinding", "load-balancer", ("subjects", 0, "namespace"), "default"),
    ("rights", "ClusterRoleBinding", "ballast-prometheus", ("subjects", 0, "name"), "load-balancer"),
    ("scaling", "PodDisruptionBudget", "backend", ("spec", "selector", "matchLabels"), {"app": "backend"}),
    ("scaling", "PodDisruptionBudget", "backend", ("spec", "maxUnavailable"), 0),
    ("scaling", "HorizontalPodAutoscaler", "load-balancer", ("spec", "scaleTargetRef", "name"), "balancer"),
    ("scaling", "HorizontalPodAutoscaler", "load-balancer", ("spec", "minReplicas"), 1),
    ("scaling", *BALANCER, ("spec", "replicas"), 2),
    ("scaling", *BACKEND, ("spec", "replicas"), None),
    ("sizes", "ConfigMap", "grafana-lb-geo", ("data", "more"), "x" * 256 * 1024),
    ("images", *BALANCER, (*BOX, "image"), "ballast/load-balancer:latest"),
    ("images", "Deployment", "redis", (*BOX, "image"), "redis:7"),
    ("images", *BALANCER, (*BOX, "imagePullPolicy"), "Always"),
    ("restricted", *BALANCER, (*POD, "hostNetwork"), True),
    ("restricted", *BALANCER, (*POD, "securityContext", "runAsUser"), 0),
    ("restricted", *BALANCER, (*POD, "securityContext", "runAsNonRoot"), None),
    ("restricted", *BALANCER, (*POD, "securityContext", "seccompProfile"), None),
    ("restricted", *BALANCER, (*POD, "enableServiceLinks"), True),
    ("restricted", *BACKEND, (*POD, "automountServiceAccountToken"), True),
    ("restricted", *BALANCER, (*POD, "volumes", 0), {"name": "config", "hostPath": {"path": "/"}}),
    ("restricted", *BALANCER, (*BOX, "securityContext", "capabilities"), {"drop": ["NET_RAW"]}),
    ("restricted", *BALANCER, (*BOX, "securityContext", "privileged"), True),
    ("restricted", *BALANCER, (*BOX, "ports", 0, "hostPort"), 5000),
    ("resources", *BALANCER, (*BOX, "resources", "limits", "cpu"), "1"),
    ("resources", *BALANCER, (*BOX, "resources", "requests", "cpu"), None),
    ("resources", *BACKEND, (*BOX, "resources", "limits", "memory"), None),
    ("probes", *BALANCER, (*BOX, "livenessProbe", "httpGet", "path"), "/ready"),
    ("probes", *BALANCER, (*BOX, "readinessProbe", "httpGet", "port"), "metrics"),
    ("probes", "Deployment", "grafana", (*BOX, "startupProbe"), None),
    ("flows", "NetworkPolicy", "closed", ("spec", "policyTypes"), ["Egress"]),
    ("flows", "NetworkPolicy", "backend", ("spec", "ingress", 0, "from"), None),
    ("flows", "NetworkPolicy", "load-balancer", ("spec", "egress", 0, "ports", 0, "port"), 5001),
    ("flows", "NetworkPolicy", "load-balancer", ("spec", "ingress", 1, "from"), None),
    ("policies", "NetworkPolicy", "redis", ("spec", "podSelector", "matchLabels"), {"app": "redis"}),
    ("policies", "NetworkPolicy", "redis", ("spec", "ingress", 0, "from", 0, "podSelector", "matchLabels"), {"app": "lb"}),
    ("policies", "NetworkPolicy", "redis", ("spec", "ingress", 0, "ports", 0, "port"), 6380),
    ("outwards", "NetworkPolicy", "dns", ("spec", "podSelector"), {"matchLabels": {"app.kubernetes.io/name": "redis"}}),
    ("outwards", "NetworkPolicy", "load-balancer", ("spec", "egress", 2, "ports", "+"), {"protocol": "TCP", "port": 80}),
    ("ports", *BALANCER, (*BOX, "ports", 1, "containerPort"), 9902),
    ("ports", "Service", "redis", ("spec", "ports", 0, "port"), 6380),
    ("discovery", "Service", "backend-us", ("metadata", "labels", "app.kubernetes.io/name"), "back"),
    ("discovery", "Service", "redis", ("metadata", "labels", "app.kubernetes.io/name"), "backend"),
    ("discovery", "Service", "backend-us", ("metadata", "labels", "ballast/region"), "EU"),
    ("discovery", "Service", "backend-us", ("spec", "ports", 0, "name"), "web"),
    ("discovery", "Service", "backend-us", ("spec", "clusterIP"), "10.0.0.1"),
    ("backends", "Service", "backend-us", ("metadata", "labels", "ballast/weight"), "7"),
    ("backends", "Deployment", "backend-us", (*BOX, "resources", "limits", "cpu"), "2"),
    ("graces", *BALANCER, (*POD, "terminationGracePeriodSeconds"), 60),
    ("graces", *BACKEND, (*POD, "terminationGracePeriodSeconds"), 10),
    ("graces", *BALANCER, (*BOX, "lifecycle"), None),
    ("scraped", "Role", "prometheus", ("rules", 0, "resources"), ["services"]),
    ("scraped", "ClusterRole", "ballast-prometheus", ("rules", 0, "verbs"), ["get"]),
    ("scraped", *BALANCER, (*BOX, "ports", 1, "name"), "metrics"),
    ("grafana", "Service", "prometheus", ("spec", "ports", 0, "port"), 80),
    ("grafana", "Deployment", "grafana", (*BOX, "volumeMounts", 3, "mountPath"), "/dashboards"),
    ("grafana", "Deployment", "grafana", (*POD, "volumes", 3, "projected", "sources", 0), {"configMap": {"name": "grafana-locust"}}),
]  # fmt: skip


class Cross(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.objects = manifests.folder()

    def test_everything_is_there(self):
        self.assertEqual(sorted(one.name for one in manifests.workloads(self.objects)), [
            "backend-apac", "backend-eu", "backend-us", "grafana", "load-balancer", "prometheus", "redis",
        ])  # fmt: skip

    def test_the_folder_has_manifests_and_nothing_else(self):
        for path in manifests.FOLDER.iterdir():
            self.assertEqual((path.suffix, path.is_file()), (".yaml", True), path)

    def test_the_manifests_keep_every_rule(self):
        for name, rule in RULES.items():
            self.assertEqual(list(rule(self.objects)), [], name)

    def test_what_overlays_make_keeps_every_rule(self):
        for overlay in manifests.OVERLAYS:
            made = manifests.overlay(overlay)
            # Which file an object is from is lost, and images are somebody else's.
            for name in RULES.keys() - {"files", "images"}:
                self.assertEqual(list(RULES[name](made)), [], f"{overlay}: {name}")
            self.assertEqual(len(made), len(self.objects), overlay)

    def test_each_rule_finds_what_breaks_it(self):
        for rule, kind, name, path, value in BROKEN:
            with self.subTest(f"{rule}: {kind} {name} {path}"):
                self.assertTrue(manifests.found(self.objects, kind, name), "there is nothing to break")
                broken = manifests.changed(self.objects, kind, name, path, value)
                self.assertTrue(list(RULES[rule](broken)), "not found")
        self.assertEqual({rule for rule, *_ in BROKEN}, RULES.keys() - {"files"})

    def test_a_file_without_a_number_is_found(self):
        self.assertTrue(list(rules.files([manifests.Object("balancer.yaml", {})])))

    def test_a_job_that_differs_from_composes_is_found(self):
        for path, value in (
            (("global", "scrape_interval"), "30s"),
            (("scrape_configs", 0, "sample_limit"), 1),
            (("scrape_configs", 0, "job_name"), "balancer"),
            (("scrape_configs", 1, "kubernetes_sd_configs", 0, "selectors", 0, "label"), "app=backend"),
        ):
            config = manifests.scrapes(self.objects)
            place = config
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = value
            broken = manifests.changed(self.objects, "ConfigMap", "prometheus", ("data", "prometheus.yml"), yaml.safe_dump(config))
            self.assertTrue(list(contents.scraped(broken)), path)


if __name__ == "__main__":
    unittest.main()
