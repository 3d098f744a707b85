"""Images under the names that our files have, for the registry of `cloud`: real programs where this machine has them.

The balancer, the backend, Redis and Prometheus are real, with busybox for the shell of their health checks, as in the real
images. All share one layer, and differ in how they are started. What this machine has not (Grafana, cAdvisor, InfluxDB, …)
is a program that waits, and whose health check passes.
"""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile

import rig

WAITS = "#!/bin/sh\ntrap 'exit 0' TERM\nwhile :; do sleep 1 & wait $!; done\n"
# InfluxDB's health check looks for its database.
PASSES = "#!/bin/sh\necho prometheus\n"
SH = ("cat", "echo", "grep", "sh", "sleep", "wget")


def publish(directory, names):
    """Writes the images `names` (name to what it is of) where `cloud` serves them."""
    blobs = directory / "blobs"
    blobs.mkdir()
    layer, images = write_layer(blobs), {}
    for name, what in names.items():
        config = {"architecture": "amd64", "os": "linux", "config": settings(what), "rootfs": {"type": "layers", "diff_ids": [layer[0]]}}
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", **described(blobs, config)},
            "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar", "digest": layer[0], "size": layer[1]}],
        }
        images[name] = described(blobs, manifest)["digest"]
    (directory / "images.json").write_text(json.dumps(images))


def settings(what):
    """How an image of that is started; as Dockerfile has it for our own, but for how often it is asked."""
    path = ["PATH=/usr/local/bin:/usr/bin:/bin"]
    if what == "balancer":
        health = {"Test": ["CMD", "load-balancer", "health"], "Interval": 10**9, "Timeout": 3 * 10**9, "StartPeriod": 10 * 10**9, "Retries": 3}
        start = {"Entrypoint": ["load-balancer"], "Cmd": ["serve", "--config", "/etc/ballast/load-balancer.toml"]}
        return {"Env": path, "User": "65532:65532", "Healthcheck": health, **start}
    if what == "backend":
        return {"Env": [*path, "BIND=0.0.0.0", "PORT=5000"], "User": "65532:65532", "Entrypoint": ["backend"]}
    if what == "prometheus":
        return {"Env": path, "User": "nobody", "Entrypoint": ["prometheus"], "WorkingDir": "/prometheus"}
    if what == "redis":
        return {"Env": path, "WorkingDir": "/data", "Cmd": ["redis-server"]}
    return {"Env": [f"{path[0].replace('=', '=/passes:')}"], "Entrypoint": ["/waits"]}


def described(blobs, what):
    """Keeps JSON as a blob."""
    data = json.dumps(what).encode()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    (blobs / digest).write_bytes(data)
    return {"digest": digest, "size": len(data)}


def write_layer(blobs):
    """Digest and size of the one layer."""
    new = blobs / "layer"
    with tarfile.open(new, "w", dereference=True) as archive:
        programs = [rig.PROGRAMS / name for name in ("load-balancer", "backend")]
        programs += [shutil.which(name) for name in ("redis-server", "redis-cli", "prometheus", "busybox")]
        for program in programs:
            archive.add(program, f"usr/local/bin/{os.path.basename(program)}")
        for library in {library for program in programs for library in libraries(program)}:
            archive.add(library, library.lstrip("/"))
        for applet in SH:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "/usr/local/bin/busybox"
            archive.addfile(link)
        text(archive, "waits", WAITS, 0o755)
        for name in ("curl", "influx", "python3", "wget"):
            text(archive, f"passes/{name}", PASSES, 0o755)
        users = "root:x:0:0:root:/:/bin/sh\nredis:x:999:999::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"
        text(archive, "etc/passwd", users, 0o644)
        for name, owner in (("tmp", 0), ("data", 999), ("prometheus", 65534), ("var/lib/ballast", 65532)):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode, folder.uid, folder.gid = tarfile.DIRTYPE, 0o755, owner, owner
            archive.addfile(folder)
    with new.open("rb") as file:
        digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    return digest, new.rename(blobs / digest).stat().st_size


def libraries(program):
    """What it is linked with, each where it looks for it."""
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return re.findall(r"(/\S+) \(0x", linked)


def text(archive, name, content, mode):
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    archive.addfile(info, io.BytesIO(content.encode()))
