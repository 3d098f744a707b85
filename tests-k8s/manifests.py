"""The manifests as objects, and how one reaches into them."""

import copy
import functools
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import rig
import yaml

FOLDER = rig.ROOT / "k8s"
EXTRAS = rig.ROOT / "deploy" / "kubernetes"
OVERLAYS = ("kind", "minikube", "gke")
# Debian's of trixie, which `make tools` unpacks here: older ones know no --load-restrictor, and no Kubernetes.
KUBECTL = rig.TARGET / "tests-k8s" / "bin" / "kubectl"
PROMETHEUS = KUBECTL.with_name("prometheus")
WORKLOADS = ("Deployment", "DaemonSet", "StatefulSet")
# Kinds that belong to no namespace.
CLUSTER_WIDE = ("Namespace", "ClusterRole", "ClusterRoleBinding")


@dataclass
class Object:
    """One document of one file."""

    file: str
    data: dict

    @property
    def kind(self):
        return self.data["kind"]

    @property
    def name(self):
        return self.data["metadata"]["name"]

    @property
    def namespace(self):
        return self.data["metadata"].get("namespace")

    @property
    def labels(self):
        return self.data["metadata"].get("labels", {})

    @property
    def spec(self):
        return self.data.get("spec", {})

    @property
    def pod(self):
        """The specification of the pods that a workload makes."""
        return self.spec["template"]["spec"]

    @property
    def pod_labels(self):
        return self.spec["template"]["metadata"]["labels"]

    @property
    def containers(self):
        return self.pod.get("initContainers", []) + self.pod["containers"]

    def ports(self):
        """The ports of its containers: name to number."""
        return {port["name"]: port["containerPort"] for one in self.containers for port in one.get("ports", [])}

    def __str__(self):
        return f"{self.file}: {self.kind} {self.name}"


def documents(text, file):
    return [Object(file, data) for data in yaml.safe_load_all(text) if data]


@functools.cache
def folder(directory=FOLDER):
    """Every object of a folder, as `kubectl apply -f` takes them: by the names of the files, no deeper."""
    files = sorted(path for path in directory.iterdir() if path.suffix in (".yaml", ".yml", ".json"))
    return [one for file in files for one in documents(file.read_text(), file.name)]


@functools.cache
def overlay(name):
    """What kustomize makes of an overlay."""
    argv = [KUBECTL, "kustomize", "--load-restrictor=LoadRestrictionsNone", EXTRAS / name]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return documents(done.stdout, f"overlay {name}")


def workloads(objects):
    return [one for one in objects if one.kind in WORKLOADS]


def of_kind(objects, *kinds):
    return [one for one in objects if one.kind in kinds]


def found(objects, kind, name):
    """The object of this kind and name, or None."""
    return next((one for one in objects if (one.kind, one.name) == (kind, name)), None)


def chosen(selector, labels):
    """Whether a label selector, in any of its forms, takes these labels."""
    wanted = selector.get("matchLabels", {})
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    for one in selector.get("matchExpressions", []):
        value = labels.get(one["key"])
        fits = {"In": value in one.get("values", []), "Exists": value is not None, "DoesNotExist": value is None}
        if not fits[one["operator"]]:
            return False
    return True


def settings(objects):
    """The balancer's configuration, as text."""
    return found(objects, "ConfigMap", "load-balancer").data["data"]["load-balancer.toml"]


def scrapes(objects):
    """Prometheus's configuration."""
    return yaml.safe_load(found(objects, "ConfigMap", "prometheus").data["data"]["prometheus.yml"])


def applied_size(one):
    """Bytes of the annotation that `kubectl apply` keeps."""
    return len(json.dumps(one.data, separators=(",", ":")).encode())


def changed(objects, kind, name, path, value):
    """A copy in which `path` of one object is `value`; None takes it out, and `+` as the last step appends."""
    copied = [Object(one.file, copy.deepcopy(one.data)) for one in objects]
    place = found(copied, kind, name).data
    for step in path[:-1]:
        place = place[step]
    if path[-1] == "+":
        place.append(value)
    elif value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return copied
