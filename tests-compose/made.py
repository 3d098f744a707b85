"""What `make images` makes: built, described, pushed to a real registry, fetched from it and run.

Not a module of tests: `test_compose` has these in its class, whose builds are most of the work.
"""

import json
import re
import subprocess
import tomllib

import rig
import standins

# Debian's docker-registry, in the network of the daemon, which trusts what is on loopback without TLS.
REGISTRY = "127.0.0.1:5050"
NAMES = ("load-balancer", "backend")
SOURCE = "https://example.com/ballast"
MAKE_WITHIN = 600
HEALTHY_WITHIN = 60
CLOSED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
# Docker's own, in every container.
DOCKERS = re.compile(r"(\.dockerenv|dev/.*|proc/|sys/|etc/(hostname|hosts|mtab|resolv\.conf))$")
REGISTRYS = """\
version: 0.1
storage: {filesystem: {rootdirectory: /srv}}
http: {addr: "%s"}
"""
LEAST = '[[pool.backend]]\nname = "one"\naddress = "127.0.0.1:7001"\n'


class Images:
    """`self.stack` has a copy of the repository, and its daemon has built both before."""

    def docker(self, *command, **options):
        return standins.run("docker", *command, env=self.stack.environment, **options)

    def registry(self):
        """Runs one for the test."""
        config = self.directory / "registry.yml"
        config.write_text(REGISTRYS % REGISTRY)
        where = ("--network", "host", "--tmpfs", "/srv", "--volume", f"{config}:/registry.yml:ro")
        serve = ("docker-registry", "serve", "/registry.yml")
        self.docker("run", "--detach", "--rm", "--name", "registry", *where, standins.EVERYTHING, *serve)
        self.addCleanup(self.docker, "rm", "--force", "registry")
        ready = self.stack.daemon.inside("curl", "--silent", "--fail", "--output", "/dev/null", f"http://{REGISTRY}/v2/")
        rig.until(lambda: subprocess.run(ready, check=False).returncode == 0, "the registry answers")

    def committed(self):
        """Makes the copy a clone with one commit, whose name is returned."""
        git = ("git", "-c", "user.name=tests", "-c", "user.email=tests@example.com", "-C", self.stack.root)
        standins.run(*git, "init", "--quiet")
        standins.run(*git, "add", "--all")
        standins.run(*git, "commit", "--quiet", "--message", "All of it")
        return standins.run(*git, "rev-parse", "HEAD").strip()

    def test_images_for_a_registry(self):
        revision = self.committed()
        workspace = tomllib.loads((self.stack.root / "Cargo.toml").read_text())["workspace"]["package"]
        images = {name: f"{REGISTRY}/a-project/ballast/{name}:{workspace['version']}" for name in NAMES}
        self.registry()
        said = self.stack.make("images", f"REGISTRY={REGISTRY}/a-project/ballast", "PUSH=1", f"SOURCE={SOURCE}", within=MAKE_WITHIN)
        for name, image in images.items():
            # What is looked at is what came back.
            self.docker("image", "rm", image)
            self.docker("pull", "--quiet", image)
            [one] = json.loads(self.docker("image", "inspect", image))
            self.assertEqual(one["Config"]["User"], "65532:65532")
            labels = {key.removeprefix("org.opencontainers.image."): value for key, value in one["Config"]["Labels"].items()}
            self.assertIn(name.replace("-", " "), labels["title"])
            self.assertRegex(labels["created"], r"^\d{4}-\d\d-\d\dT")
            self.assertEqual(
                [labels[key] for key in ("version", "revision", "licenses", "source")],
                [workspace["version"], revision, workspace["license"], SOURCE],
            )
            print(f"{image}: {one['Size'] / 1e6:.0f} MB, {len(one['RootFS']['Layers'])} layers")
            self.described(name, next(line for line in said.splitlines() if line.endswith(f"{name}-{workspace['version']}.cdx.json")))
        self.has_only(images["backend"], ["usr/local/bin/backend"])
        balancers = ["etc/ballast/load-balancer.toml", "etc/ssl/certs/ca-certificates.crt", "usr/local/bin/load-balancer"]
        self.has_only(images["load-balancer"], balancers)
        self.runs(images["load-balancer"])

    def described(self, name, file):
        """The bill of materials has every crate that the program is made of, by the lock file's checksum, and a licence for each."""
        text = (self.stack.root / file).read_text()
        self.assertNotIn(str(self.stack.root), text)
        bill = json.loads(text)
        self.assertEqual((bill["bomFormat"], bill["metadata"]["component"]["name"]), ("CycloneDX", name))
        locked = tomllib.loads((self.stack.root / "Cargo.lock").read_text())["package"]
        locked = {(one["name"], one["version"]): one.get("checksum") for one in locked}
        listed = {}
        for one in bill["components"]:
            self.assertTrue(one.get("licenses"), one["name"])
            [checksum] = [given["content"] for given in one.get("hashes", []) if given["alg"] == "SHA-256"] or [None]
            listed[one["name"], one["version"]] = checksum
        self.assertEqual(listed, {crate: locked.get(crate) for crate in listed})
        tree = standins.run_out("cargo", "tree", "--offline", "--locked", "--package", name, "--edges", "normal", "--prefix", "none")
        crates = {tuple(line.split()[:2]) for line in tree.splitlines() if line}
        wanted = {(crate, version.removeprefix("v")) for crate, version in crates if crate != name}
        self.assertGreater(len(wanted), 30)
        self.assertLessEqual(wanted, listed.keys())

    def has_only(self, image, files):
        """Nothing but these: no shell, no packages."""
        self.docker("create", "--name", "looked-at", image)
        self.addCleanup(self.docker, "rm", "--force", "looked-at")
        with subprocess.Popen(["docker", "export", "looked-at"], stdout=subprocess.PIPE, env=self.stack.environment) as export:
            names = subprocess.run(["tar", "--list"], stdin=export.stdout, capture_output=True, text=True, check=True).stdout.split()
        self.docker("rm", "looked-at")
        self.assertEqual(sorted(name for name in names if not name.endswith("/") and not DOCKERS.match(name)), sorted(files))

    def runs(self, image):
        """As a user of no account, on a read-only disk, it checks a configuration, and serves with its own."""
        config = self.directory / "least.toml"
        config.write_text(LEAST)
        config.chmod(0o644)
        check = ("run", "--rm", *CLOSED, "--network", "none", "--volume", f"{config}:/least.toml:ro", image, "check", "--config", "/least.toml")
        self.docker(*check)
        config.write_text('[pool]\nalgorithm = "fastest"\n' + LEAST)
        refused = subprocess.run(["docker", *check], env=self.stack.environment, capture_output=True, text=True, check=False)
        self.assertEqual(refused.returncode, 2, refused.stderr)
        self.assertIn("fastest", refused.stdout + refused.stderr)
        # It finds the backends of its own configuration by their names, and nobody else's: Redis it has not been told of.
        where = ("--network", "ballast_traffic", "--volume", "serving-state:/var/lib/ballast")
        self.docker("run", "--detach", "--name", "serving", *CLOSED, *where, image)
        self.addCleanup(self.docker, "volume", "rm", "serving-state")
        self.addCleanup(self.docker, "rm", "--force", "serving")
        state = ("inspect", "--format", "{{.State.Status}} {{.State.Health.Status}}", "serving")
        rig.until(lambda: self.docker(*state) == "running healthy\n", "the image's own health check", HEALTHY_WITHIN, 0.2)
        self.docker("stop", "serving")
        self.assertEqual(self.docker("inspect", "--format", "{{.State.ExitCode}}", "serving"), "0\n", self.docker("logs", "serving"))
