"""`kubectl apply -f k8s`, by kubectl itself, on a double of the API server."""

import os
import shutil
import subprocess
import unittest

import manifests
import rig
from api_server import Api

WITHIN = 120
# Kubectl sends the selector of these each time, since the schema wants it replaced whole.
PATCHED = ["poddisruptionbudget.policy/backend configured", "poddisruptionbudget.policy/load-balancer configured"]


class Apply(unittest.TestCase):
    def setUp(self):
        self.directory = rig.directory(self.id())
        self.api = Api()
        self.addCleanup(self.api.stop)

    def apply(self, folder):
        """Exit code, and a line for each object. The server's own validation is the double's: there is no OpenAPI to fetch."""
        argv = [manifests.KUBECTL, f"--server={self.api.url}", "apply", "--validate=false", "-f", folder]
        plain = {key: value for key, value in os.environ.items() if key != "KUBECONFIG"} | {"HOME": str(self.directory)}
        done = subprocess.run(argv, capture_output=True, text=True, timeout=WITHIN, env=plain, check=False)
        return done.returncode, done.stdout.splitlines(), done.stderr

    def copy(self):
        return shutil.copytree(manifests.FOLDER, self.directory / "k8s")

    def test_all_is_created_in_order_and_a_second_time_changes_nothing(self):
        code, lines, said = self.apply(manifests.FOLDER)
        self.assertEqual((code, said), (0, ""), lines)
        objects = [(one.kind, one.name) for one in manifests.folder()]
        self.assertEqual(self.api.created, objects)
        self.assertTrue(all(line.endswith(" created") for line in lines), lines)
        before = dict(self.api.objects)
        code, lines, said = self.apply(manifests.FOLDER)
        self.assertEqual((code, said, self.api.objects), (0, "", before))
        self.assertEqual(len(lines), len(objects))
        self.assertEqual([line for line in lines if not line.endswith(" unchanged")], PATCHED)

    def test_an_edit_changes_that_and_nothing_else(self):
        folder = self.copy()
        self.assertEqual(self.apply(folder)[0], 0)
        file = folder / "40-load-balancer-config.yaml"
        file.write_text(file.read_text().replace('drain = "30s"', 'drain = "20s"'))
        code, lines, _ = self.apply(folder)
        changed = [line for line in lines if not line.endswith(" unchanged")]
        self.assertEqual((code, sorted(changed)), (0, sorted(["configmap/load-balancer configured", *PATCHED])))
        text = self.api.objects["/api/v1/namespaces/ballast/configmaps/load-balancer"]["data"]["load-balancer.toml"]
        self.assertIn('drain = "20s"', text)

    def test_the_extras_are_taken_too(self):
        self.assertEqual(self.apply(manifests.FOLDER)[0], 0)
        for name in ("node-exporter", "scaling", "locust"):
            code, lines, said = self.apply(manifests.EXTRAS / name)
            self.assertEqual((code, said), (0, ""), lines)
            self.assertEqual(len(lines), len(manifests.folder(manifests.EXTRAS / name)))

    def test_what_spoils_an_apply_is_noticed(self):
        def kustomization(folder):
            shutil.copy(manifests.EXTRAS / "base" / "kustomization.yaml", folder)

        def operator(folder):
            shutil.copy(manifests.EXTRAS / "operator" / "monitors.yaml", folder)

        def late_namespace(folder):
            (folder / "00-namespace.yaml").rename(folder / "99-namespace.yaml")

        def large(folder):
            file = folder / "62-grafana-lb-geo.yaml"
            file.write_text(file.read_text() + "  more: " + "x" * 256 * 1024 + "\n")

        def misspelt(folder):
            file = folder / "20-redis.yaml"
            file.write_text(file.read_text().replace("replicas: 1", "replica: 1"))

        for spoil, word in (
            (kustomization, 'no matches for kind "Kustomization"'),
            (operator, 'no matches for kind "ServiceMonitor"'),
            (late_namespace, 'namespaces "ballast" not found'),
            (large, "Too long"),
            (misspelt, "replica"),
        ):
            with self.subTest(spoil.__name__):
                # An API server of its own, with nothing on it.
                self.setUp()
                folder = self.copy()
                spoil(folder)
                code, _, said = self.apply(folder)
                self.assertNotEqual(code, 0)
                self.assertIn(word, said)


if __name__ == "__main__":
    unittest.main()
