"""What the files under deploy/ say, held against each other and against docker-compose.yml."""

import re
import subprocess
import unittest

import rig

SCRIPT = rig.ROOT / "deploy/gcp/startup-script.sh"
README = rig.ROOT / "deploy/gcp/README.md"


class Written(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.script, cls.readme = SCRIPT.read_text(), README.read_text()
        cls.compose = (rig.ROOT / "docker-compose.yml").read_text()

    def test_images_are_those_of_compose(self):
        for name in ("REDIS", "PROMETHEUS"):
            image = re.search(rf"^{name}_IMAGE=(\S+)$", self.script, re.MULTILINE)[1]
            self.assertIn(f"    image: {image}\n", self.compose)
            self.assertIn(f"`{image}`", self.readme)

    def test_prometheus_keeps_as_much_as_in_compose(self):
        flags = re.findall(r"--storage\.tsdb\.\S+", self.script)
        self.assertEqual(len(flags), 3)
        for flag in flags:
            self.assertIn(f"- {flag}\n", self.compose)

    def test_every_attribute_is_described(self):
        read = set(re.findall(r"(?:attribute|setting|image) ([a-z]+-[a-z0-9-]+) ", self.script)) | {"lb-source-sha256"}
        self.assertGreater(len(read), 10)
        described = set(re.findall(r"^\| `([a-z0-9-]+)` \|", self.readme, re.MULTILINE))
        self.assertEqual(read, described)

    def test_every_exit_code_is_described(self):
        used = set(re.findall(r"\bfail (\d)\b", self.script))
        self.assertEqual(used, set(re.findall(r"^#   (\d)  ", self.script, re.MULTILINE)))
        self.assertEqual(used | {"0"}, set(re.findall(r"^\| (\d) \|", self.readme, re.MULTILINE)))

    def test_a_token_is_as_long_as_the_balancer_wants(self):
        rule = (rig.ROOT / "load-balancer/src/config/check/control.rs").read_text()
        least = re.search(r"const TOKEN_LEAST: usize = (\d+);", rule)[1]
        self.assertIn(f"\nTOKEN_LEAST={least}\n", self.script)

    def test_it_fits_a_value_of_metadata(self):
        self.assertLess(SCRIPT.stat().st_size, 256 * 1024)
        subprocess.run(["bash", "-n", SCRIPT], check=True)
