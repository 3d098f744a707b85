"""The provider `docker` on a real daemon: starts one, and runs the Rust tests that want it."""

import os
import re
import subprocess
import unittest

import docker
import rig

# Building the tests included, should they not be built yet.
WITHIN = 900


class DockerProvider(unittest.TestCase):
    shares = "docker"

    def setUp(self):
        self.directory = rig.directory(self.id())
        self.docker = docker.Docker(self.directory)
        self.addCleanup(self.docker.stop)

    def test_containers_are_created_watched_and_removed(self):
        where = f"{self.docker.socket},{docker.IMAGE},{docker.NETWORK}"
        command = ["cargo", "test", "--workspace", "--test", "it", "--verbose", "--", "provision_docker", "--nocapture"]
        log = self.directory / "cargo.out"
        with log.open("wb") as out:
            code = subprocess.run(
                command, cwd=rig.ROOT, env={**os.environ, "BALLAST_TEST_DOCKER": where}, timeout=WITHIN,
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, check=False,
            ).returncode  # fmt: skip
        said = log.read_text(errors="replace")
        self.assertEqual(code, 0, said[-4000:])
        self.assertNotIn("not run:", said)
        passed = re.findall(r"test result: ok\. (\d+) passed", said)
        self.assertGreaterEqual(sum(map(int, passed)), 5, said[-4000:])
        self.assertEqual(self.docker.containers(), [])
