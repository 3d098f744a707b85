"""What `make images` refuses, before it does anything; what it makes is looked at in `made`."""

import subprocess
import unittest

import rig
import standins


class ImagesRefused(unittest.TestCase):
    def test_settings_that_make_no_sense(self):
        for settings, says in (
            (("TAG=latest",), "changes with the day"),
            (("TAG=a b",), "TAG is"),
            (("REGISTRY=https://example.com/ballast",), "without https://"),
            (("REGISTRY=example.com/ballast/",), "without a slash at the end"),
            (("REGISTRY=example.com/ballast", "PUSH=yes"), "PUSH is"),
            (("PUSH=1",), "wants a REGISTRY"),
        ):
            with self.subTest(settings):
                done = subprocess.run(
                    ["make", "images", *settings], cwd=rig.ROOT, env=standins.environment(), capture_output=True, text=True,
                    timeout=30, check=False,
                )  # fmt: skip
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(says, done.stderr)
