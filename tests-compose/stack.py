"""A copy of the repository on a Docker daemon of the tests' own, started and stopped by make as its users do."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import docker
import rig
import standins

# What nothing stands in for.
ABSENT = ("cadvisor", "grafana")
# The two programs are built inside, in the dev profile; two minutes where the machine does nothing else.
START_WITHIN = 900
STOP_WITHIN = 90
ANSWER_WITHIN = 10


def copy(directory):
    """The repository's files as git would take them, in a directory of their own: what is made there is nobody's."""
    listed = standins.run_out("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    root = directory / "ballast"
    for name in filter(None, listed):
        if (rig.ROOT / name).exists():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(rig.ROOT / name, root / name)
    return root


def declared(root, **settings):
    """The docker-compose.yml of `root` as compose understands it; this needs no daemon."""
    done = subprocess.run(
        ["docker", "compose", "config", "--format", "json"], cwd=root, env={**standins.environment(), **settings},
        capture_output=True, text=True, timeout=STOP_WITHIN, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Stack:
    """Commands in that copy, and what its services answer."""

    def __init__(self, directory):
        self.root = copy(directory)
        self.daemon = docker.Daemon(directory, apart=True)
        try:
            standins.load(self.daemon)
        except BaseException:
            self.daemon.stop()
            raise
        # /fault makes a request slow.
        self.environment = {**standins.environment(self.daemon), "PROFILE": "unoptimized", "FAULT": "1"}
        self.log = (directory / "make").with_suffix(".out")

    def make(self, goal, *settings, within):
        """What `make goal` says."""
        with self.log.open("a+b") as log:
            begun = log.seek(0, os.SEEK_END)
            done = subprocess.run(
                ["make", "--no-print-directory", goal, *settings], cwd=self.root, env=self.environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, timeout=within, check=False,
            )  # fmt: skip
            log.seek(begun)
            said = log.read().decode(errors="replace")
        assert done.returncode == 0, f"make {goal} ended with {done.returncode}:\n{said[-6000:]}"
        return said

    def compose(self, *command, within=STOP_WITHIN):
        return standins.run("docker", "compose", *command, cwd=self.root, env=self.environment, within=within)

    def containers(self):
        """Every container by its service, as `docker inspect` has it."""
        all_of_them = self.daemon.containers()
        inspected = (json.loads(self.daemon.ask("GET", f"/containers/{one['Id']}/json")) for one in all_of_them)
        return {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in inspected}

    def unhealthy(self):
        """The services that are not, or not yet, what their health check wants."""
        states = {name: one["State"] for name, one in self.containers().items()}
        for name, state in states.items():
            assert state["Status"] in ("created", "running"), f"{name}: {state}\n{self.compose('logs', '--tail', '30', name)}"
        return {name: state.get("Health", {}) for name, state in states.items() if state.get("Health", {}).get("Status") != "healthy"}

    def curl(self, url, *arguments):
        """Status and body of what curl gets on the machine of the daemon."""
        command = ["curl", "--disable", "--noproxy", "*", "--silent", "--show-error", "--max-time", ANSWER_WITHIN]
        command += ["--write-out", "\n%{http_code}", *arguments, url]
        done = subprocess.run(self.daemon.inside(*command), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{url}: {done.stderr}"
        body, _, code = done.stdout.rpartition("\n")
        return int(code), body

    def json(self, url, *arguments):
        code, body = self.curl(url, *arguments)
        assert code == 200, f"{url}: {code} {body}"
        return json.loads(body)

    def secrets(self):
        """What .env says."""
        lines = (Path(self.root) / ".env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))

    def stop(self):
        self.daemon.stop()
