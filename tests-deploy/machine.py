"""A machine with a real systemd, in namespaces of its own: it boots, runs, reboots and is gone.

Its disk is a layer over the Debian of `debian`, so that each machine is a fresh one; its network has nothing but the
stand-in of Google's cloud (`cloud`). Needs root and a kernel with overlayfs and cgroup2.
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

import cloud
import debian
import rig

HERE = Path(__file__).resolve().parent
BOOT_WITHIN = 60
# The first run installs Docker and fetches the images.
RUN_WITHIN = 240
STOP_WITHIN = 60
LOG = "/var/log/startup.log"


class Machine:
    """Off until `boot`; `cloud` is what its network leads to."""

    def __init__(self, directory, cloud):
        self.directory, self.cloud = directory, cloud
        self.tree = debian.tree()
        # Not below target/: Docker's sockets have short paths only.
        self.home = Path(tempfile.mkdtemp(prefix="ballast-machine-"))
        self.cgroup = self.unified() / self.home.name
        self.process = None
        # Should the tests be interrupted.
        rig.Process.started.append(self)
        cloud.make_known(self.home / "upper", self.tree)

    @staticmethod
    def unified():
        """Where the host has cgroup2."""
        for line in Path("/proc/mounts").read_text().splitlines():
            _, where, kind, options, *_ = line.split()
            if kind == "cgroup2" and "rw" in options.split(","):
                return Path(where)
        raise AssertionError("no cgroup2 is mounted here that may be written: a machine with systemd needs one")

    def boot(self):
        """Starts it; it is up when its systemd answers."""
        self.leave()
        self.cgroup.mkdir()
        self.booted = time.time()
        self.process = rig.Process(
            self.directory / "machine", "nsenter", "--target", self.cloud.pid, "--net", "unshare", "--pid", "--fork",
            "--kill-child=KILL", "--mount", "--uts", "--ipc", "--propagation", "private",
            HERE / "boot.sh", self.tree, self.home, self.cgroup,
        )  # fmt: skip
        rig.until(lambda: self.ask("systemctl", "show", "--property=Version").returncode == 0, "systemd answers", BOOT_WITHIN)

    def init(self):
        """The host's number of its process 1."""
        assert self.process.popen.poll() is None, self.process.err.read_text()
        return next(iter(rig.children(self.process.popen.pid)), None)

    def ask(self, *command, within=RUN_WITHIN, **options):
        """What a command in it came to."""
        init = self.init()
        if init is None or Path(f"/proc/{init}/comm").read_text() != "systemd\n":
            return subprocess.CompletedProcess(command, 255, "", "it has not booted")
        enter = ["nsenter", "--target", init, "--all", "env", "--ignore-environment", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *command]
        return subprocess.run(
            [*map(str, enter)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", timeout=within, check=False, **options,
        )  # fmt: skip

    def say(self, *command):
        """What a command in it says; a failure is one."""
        done = self.ask(*command)
        assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stdout}"
        return done.stdout

    def path(self, file):
        """A file of its disk, by the host's name: /proc is the way into its mounts."""
        return Path(f"/proc/{self.init()}/root{file}")

    def log(self):
        file = self.path(LOG)
        return file.read_text() if file.exists() else ""

    def started(self):
        """Waits for the run of the startup script that belongs to this boot; its exit status, and what it says.

        Read from the journal of Google's own unit. To the journal all boots are one, since they are one of the kernel's."""

        def ended():
            said = self.ask("journalctl", f"--since=@{int(self.booted)}", "--unit=google-startup-scripts", "--output=cat", "--no-pager").stdout
            return said if re.search(r"^(Finished|Failed to start) google-startup-scripts", said, re.MULTILINE) else None

        return status(rig.until(ended, "the startup script has ended", RUN_WITHIN, 0.2))

    def run(self):
        """Runs the startup script again, by Google's runner; its exit status, and what it says."""
        return status(self.say("google_metadata_script_runner", "startup"))

    def reboot(self):
        self.off()
        self.boot()

    def off(self):
        """Shuts it down as an operator would."""
        self.ask("systemctl", "poweroff", within=STOP_WITHIN)
        self.process.popen.wait(STOP_WITHIN)

    def stop(self):
        """Ends it, politely or not, and removes its disk."""
        if self.process and self.process.popen.poll() is None:
            init = self.init()
            if init:
                os.kill(init, signal.SIGKILL)
            self.process.popen.wait(STOP_WITHIN)
        self.leave()
        shutil.rmtree(self.home, ignore_errors=True)

    def leave(self):
        """Removes what a boot has left of its cgroups: no process may be added to one that was divided."""
        for group, _, _ in os.walk(self.cgroup, topdown=False):
            os.rmdir(group)


def status(said):
    """The exit status of the script in what Google's runner says, none where it had none to run, and all of that."""
    ended = re.search(r"startup-script exit status (\d+)", said)
    return ended and int(ended[1]), said


class Case(unittest.TestCase):
    """One machine for the class, and a cloud around it."""

    @classmethod
    def setUpClass(cls):
        cls.directory = rig.directory(f"{cls.__module__}.{cls.__qualname__}")
        cls.cloud = cloud.Cloud(cls.directory)
        cls.addClassCleanup(cls.cloud.stop)
        cls.machine = Machine(cls.directory, cls.cloud)
        cls.addClassCleanup(cls.machine.stop)
