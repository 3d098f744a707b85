"""Checkov's opinion of manifests and extras: what it finds is accepted with a reason, or a fault."""

import json
import shutil
import subprocess
import sys
import tomllib
import unittest
from pathlib import Path

import manifests
import rig

WITHIN = 300
EXTRAS = ("node-exporter", "scaling", "locust")
ACCEPTED = Path(__file__).with_name("accepted.toml")
# A Deployment that nobody would let pass, to see that it looks.
BAD = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: bad, namespace: ballast}
spec:
  selector: {matchLabels: {app: bad}}
  template:
    metadata: {labels: {app: bad}}
    spec:
      containers:
        - {name: bad, image: "bad:latest", securityContext: {privileged: true}}
"""


class Checkov(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        """One run over everything, since most of its time is spent before it looks at anything."""
        directory = rig.directory(f"{cls.__module__}.{cls.__qualname__}")
        shutil.copytree(manifests.FOLDER, directory / "k8s")
        for name in EXTRAS:
            shutil.copytree(manifests.EXTRAS / name, directory / name)
        (directory / "bad.yaml").write_text(BAD)
        argv = [sys.executable, "-m", "checkov.main", "--framework", "kubernetes", "--skip-download", "--output", "json", "--directory", str(directory)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=WITHIN, check=False)
        try:
            report = json.loads(done.stdout)
        except json.JSONDecodeError as error:
            raise AssertionError(f"{done.stdout}\n{done.stderr}") from error
        cls.summary = report["summary"]
        cls.found = {(one["check_id"], one["resource"].rpartition(".")[2]) for one in report["results"]["failed_checks"]}

    def test_what_it_finds_is_accepted_for_a_reason(self):
        self.assertEqual(self.summary["parsing_errors"], 0)
        self.assertGreater(self.summary["passed"], 500)
        listed = tomllib.loads(ACCEPTED.read_text())["finding"]
        self.assertTrue(all(len(one["why"]) > 20 for one in listed))
        accepted = {(one["check"], name) for one in listed for name in one["of"]}
        self.assertEqual(sorted({one for one in self.found if one[1] != "bad"} ^ accepted), [])

    def test_it_looks(self):
        for check in ("CKV_K8S_14", "CKV_K8S_16", "CKV_K8S_20", "CKV_K8S_22", "CKV_K8S_29"):
            self.assertIn((check, "bad"), self.found)


if __name__ == "__main__":
    unittest.main()
