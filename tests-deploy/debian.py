"""A Debian 13 as Google's VMs have it, for machines to begin with, and the packages that a machine may install.

Made by debootstrap from the mirror that this machine uses, once; kept under target/tests-compose/ beside the other Debian.
What apt would fetch later is in /srv/packages, a repository of its own: machines have no network.
"""

import hashlib
import shutil
import subprocess

import standins

SUITE = "trixie"
# Google's script runner, systemd and what its own images have, as far as the script asks for it.
PRESENT = ("ca-certificates", "curl", "dbus", "google-guest-agent", "iproute2", "procps", "systemd", "systemd-sysv")
OFFERED = ("docker-cli", "docker-compose", "docker.io")
# Masked: they would set this machine's clock and kernel, or look after a network that is not there.
MASKED = ("google-guest-agent", "systemd-sysctl", "systemd-timesyncd", "systemd-udevd", "getty@tty1", "console-getty")


def tree():
    """The directory, made if it is not there."""
    return standins.kept("machine", f"{SUITE} {PRESENT} {OFFERED} {MASKED}", make)


def make(tree, _):
    mirror, env = standins.apt_settings()
    included = f"--include={','.join(PRESENT)}"
    standins.run("debootstrap", "--variant=minbase", included, SUITE, tree, *filter(None, [mirror]), env=env)
    chroot = ("chroot", tree, "apt-get", "--quiet=2")
    standins.run(*chroot, "clean")
    standins.run(*chroot, "update", env=env)
    standins.run(*chroot, "install", "--yes", "--no-install-recommends", "--download-only", *OFFERED, env=env)
    repository = tree / "srv/packages"
    repository.mkdir()
    for package in sorted((tree / "var/cache/apt/archives").glob("*.deb")):
        shutil.move(package, repository)
    (repository / "Packages").write_text("\n".join(map(entry, sorted(repository.glob("*.deb")))))
    shutil.rmtree(tree / "var/lib/apt/lists")
    (tree / "etc/apt/sources.list").write_text("deb [trusted=yes] file:/srv/packages ./\n")
    # debootstrap copies this machine's.
    (tree / "etc/hostname").write_text("lb-vm\n")
    (tree / "etc/resolv.conf").unlink(missing_ok=True)
    for unit in MASKED:
        (tree / f"etc/systemd/system/{unit}.service").symlink_to("/dev/null")
    # Machines have no bridge and no firewall of their own; Docker's other settings are Debian's.
    (tree / "etc/docker").mkdir()
    (tree / "etc/docker/daemon.json").write_text('{"iptables": false, "ip6tables": false, "ip-forward": false, "bridge": "none"}\n')


def entry(package):
    """One package in the index of a repository."""
    control = subprocess.run(["dpkg-deb", "--field", package], capture_output=True, text=True, check=True).stdout.rstrip()
    data = package.read_bytes()
    return f"{control}\nFilename: ./{package.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
