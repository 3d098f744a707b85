"""Images without a registry: stand-ins for those that docker-compose.yml and Dockerfile name, under the very same tags.

They are made of this machine's Rust, of Debian's packages (by debootstrap, from the mirror that this machine uses) and
of Locust from PyPI. What was fetched is kept under target/tests-compose/, so that a second run needs no network. With
the crates that the workspace was built from a build inside needs no network either, nor any of this machine's certificates
or proxies. All of it is one image, which the others only start differently: copies from one to another took longer than all else.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
import rig

HERE = Path(__file__).resolve().parent
KEPT = rig.TARGET / "tests-compose"
# Where `.ci/tools` puts Docker's plugin compose, on machines that lack it.
DOCKER_CONFIG = KEPT / "docker"

SUITE = "bookworm"
PACKAGES = (
    "binutils", "ca-certificates", "docker-registry", "gcc", "influxdb", "influxdb-client", "libc6-dev", "prometheus",
    "prometheus-node-exporter", "python3", "redis-server", "wget",
)  # fmt: skip
# Debian bookworm's own, which Locust's compiled parts have to fit.
PYTHON = "3.11"
GLIBC = 36
# What every stand-in begins with, and where in it the parts of this machine are that are not below the Debian.
EVERYTHING = "ballast-standins:everything"
PLACES = (r"s,^locust,opt/locust,", r"s,^\(bin\|lib\),usr/local/\1,", r"s,^\(registry\|config\),usr/local/cargo/\1,")

# For debootstrap, apt and pip, all together.
FETCH_WITHIN = 600
BUILD_WITHIN = 300


def run(*command, within=FETCH_WITHIN, **options):
    """What it says; a failure has the end of it."""
    done = subprocess.run(
        [*map(str, command)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=within, check=False, **options,
    )  # fmt: skip
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{said[-4000:]}"
    return said


def tags():
    """The names of all images that our files name, by what they are of: `prometheus` → `prom/prometheus:v3.14.0`."""
    compose = (rig.ROOT / "docker-compose.yml").read_text()
    named = re.findall(r"^ +image: (\S+:\S+)$", compose, re.MULTILINE)
    named += re.findall(r"^FROM (\S+:\S+)", (rig.ROOT / "Dockerfile").read_text(), re.MULTILINE)
    return {name.rpartition("/")[2].partition(":")[0]: name for name in named if not name.endswith(":local")}


def load(daemon):
    """Makes every stand-in on `daemon`."""
    names = tags()
    with ThreadPoolExecutor() as pool:
        locust = pool.submit(kept, "locust", locust_of(names["locust"]), fetch_locust)
        base = kept("base", SUITE, bootstrap)
        tools = kept("tools", SUITE + str(PACKAGES), lambda tree, _: install(base, tree))
        locust.result()
    sysroot = Path(run("rustc", "--print", "sysroot", cwd=rig.ROOT).strip())
    # Not the directory itself, which the Debian has, too: Docker refuses what comes twice.
    libraries = [path.relative_to(sysroot) for path in sysroot.glob("lib/*")]
    rust = (sysroot, "bin/rustc", "bin/cargo", *libraries)
    import_trees(daemon, (tools, "."), (KEPT, "locust"), rust, (cargo_home(), *crates()))
    for target in ("rust", "redis", "prometheus", "influxdb", "node-exporter", "locust"):
        ask(daemon, "build", "--quiet", "--target", target, "--tag", names[target], HERE / "standins", within=BUILD_WITHIN)


def ask(daemon, *command, within=FETCH_WITHIN):
    """What Docker's client says to `daemon`; the builder is the one that every version has."""
    return run("docker", *command, within=within, env={**environment(daemon), "DOCKER_BUILDKIT": "0"})


def environment(daemon=None):
    """For Docker's client: that daemon, and nothing of this machine's settings."""
    plain = {key: value for key, value in rig.environment().items() if not key.startswith(("COMPOSE_", "DOCKER_"))}
    where = {"DOCKER_HOST": f"unix://{daemon.socket}"} if daemon else {}
    return {**plain, "PATH": docker.PATH, "DOCKER_CONFIG": str(DOCKER_CONFIG), **where}


def import_trees(daemon, *trees):
    """Makes the image of parts of directories, each a directory and what is taken of it."""
    tar = ["tar", "--create", "--exclude", "./proc/*", "--exclude", "./sys/*", "--transform", ";".join(("flags=rhS", *PLACES))]
    tar += [word for tree, *parts in trees for word in ("--directory", tree, *parts)]
    with subprocess.Popen(list(map(str, tar)), stdout=subprocess.PIPE) as packing:
        subprocess.run(
            ["docker", "import", "-", EVERYTHING], stdin=packing.stdout, stdout=subprocess.DEVNULL, env=environment(daemon),
            timeout=BUILD_WITHIN, check=True,
        )  # fmt: skip
    assert packing.returncode == 0, f"{trees} could not be packed"


def kept(name, made_of, make):
    """The directory `name`, made by `make(directory, made_of)` unless it is there and made of the same."""
    tree, mark = KEPT / name, KEPT / f"{name}.made-of"
    digest = hashlib.sha256(made_of.encode()).hexdigest()
    if not (mark.exists() and mark.read_text() == digest):
        mark.unlink(missing_ok=True)
        shutil.rmtree(tree, ignore_errors=True)
        tree.mkdir(parents=True)
        make(tree, made_of)
        mark.write_text(digest)
    return tree


def apt_settings():
    """This machine's mirror of Debian, and the environment with its proxy for packages."""
    lines = run("apt-get", "indextargets", "--format", "$(REPO_URI) $(COMPONENT)", "Created-By: Packages").splitlines()
    mirrors = [uri.rstrip("/") for uri, _, part in (line.partition(" ") for line in lines) if part == "main"]
    mirror = next((uri for uri in mirrors if uri.startswith("http") and uri.endswith("/debian")), None)
    proxy = re.search(r"='(.*)'", run("apt-config", "shell", "proxy", "Acquire::http::Proxy"))
    return mirror, {**os.environ, "DEBIAN_FRONTEND": "noninteractive", **({"http_proxy": proxy[1]} if proxy else {})}


def bootstrap(tree, _):
    """Debian, as small as it comes: debian:bookworm-slim."""
    mirror, env = apt_settings()
    run("debootstrap", "--variant=minbase", SUITE, tree, *filter(None, [mirror]), env=env)
    run("chroot", tree, "apt-get", "clean")


def install(base, tree):
    """Debian with all the programs. Their servers are not started."""
    run("cp", "--archive", f"{base}/.", tree)
    policy = tree / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    _, env = apt_settings()
    run("chroot", tree, "apt-get", "install", "--yes", "--no-install-recommends", *PACKAGES, env=env)
    run("chroot", tree, "apt-get", "clean")


def locust_of(tag):
    """What pip calls the Locust of that image."""
    return f"locust=={tag.rpartition(':')[2]}"


def fetch_locust(tree, wanted):
    """Locust and what it needs, as wheels for that Debian's Python: nothing is compiled."""
    fitting = [f"--platform=manylinux_2_{minor}_{platform.machine()}" for minor in range(5, GLIBC + 1)]
    fitting += [f"--platform=manylinux{year}_{platform.machine()}" for year in (1, 2010, 2014)]
    run(
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", tree,
        "--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}", *fitting, wanted,
    )  # fmt: skip


def cargo_home():
    return Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))


def crates():
    """What a build needs of cargo's own directory: the index, the crates of the lock file, and how registries are reached."""
    run("cargo", "fetch", "--locked", "--target", host(), cwd=rig.ROOT)
    home = cargo_home()
    metadata = json.loads(run_out("cargo", "metadata", "--format-version=1", "--offline", "--locked", "--filter-platform", host()))
    wanted = {f"{package['name']}-{package['version']}.crate" for package in metadata["packages"] if package["source"]}
    files = [file for file in (home / "registry" / "cache").glob("*/*.crate") if file.name in wanted]
    assert len({file.name for file in files}) == len(wanted), "cargo keeps its crates elsewhere"
    settings = [file for file in (home / "config.toml", home / "config") if file.exists()]
    return [path.relative_to(home) for path in (home / "registry" / "index", *files, *settings)]


def run_out(*command):
    """Standard output alone."""
    return subprocess.run(command, cwd=rig.ROOT, capture_output=True, text=True, timeout=FETCH_WITHIN, check=True).stdout


def host():
    """The machine that rustc builds for."""
    return re.search(r"^host: (\S+)$", run("rustc", "--version", "--verbose", cwd=rig.ROOT), re.MULTILINE)[1]
