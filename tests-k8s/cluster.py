"""What controllers of a cluster would make of the manifests, on a double of the API server: pods that are processes here, and the
EndpointSlices, pods and nodes that tell of them."""

import shutil

import manifests
import rig

NODES = "/api/v1/nodes"
PODS = "/api/v1/namespaces/ballast/pods"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/ballast/endpointslices"
# Names as a ReplicaSet makes them.
SUFFIXES = ("6d4cf56db6-2xkqp", "6d4cf56db6-9wz7t")


class Pods:
    """The backends' pods: a process each, on addresses of their own and one port, as pods have them."""

    def __init__(self, directory, started):
        self.port, self.backends = rig.free_port(), {}
        for number, one in enumerate(self.deployments()):
            env = {variable["name"]: variable.get("value") for variable in one.containers[0]["env"]}
            for place, suffix in enumerate(SUFFIXES):
                name, address = f"{one.name}-{suffix}", f"127.0.{number + 1}.{place + 1}"
                flags = ("--bind", address, "--region", env["REGION"], "--weight", env["WEIGHT"])
                self.backends[name] = (one, address, started(rig.Backend(directory, name, self.port, *flags)))

    @staticmethod
    def deployments():
        return [one for one in manifests.workloads(manifests.folder()) if one.name.startswith("backend-")]

    def slices(self):
        """As the EndpointSlice controller makes them: with the labels of their Service."""
        for one in manifests.of_kind(manifests.folder(), "Service"):
            if one.spec.get("clusterIP") == "None" and one.name.startswith("backend-"):
                labels = one.labels | {"kubernetes.io/service-name": one.name, "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}
                yield {
                    "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                    "metadata": {"name": f"{one.name}-x7k2p", "namespace": "ballast", "labels": labels},
                    "ports": [{"name": one.spec["ports"][0]["name"], "port": self.port, "protocol": "TCP"}],
                    "endpoints": [self.endpoint(name, address) for name, (owner, address, _) in self.backends.items() if owner.name == one.name],
                }  # fmt: skip

    @staticmethod
    def endpoint(name, address):
        return {
            "addresses": [address], "conditions": {"ready": True, "serving": True, "terminating": False}, "nodeName": "node-1",
            "targetRef": {"kind": "Pod", "name": name, "namespace": "ballast", "uid": f"uid-{name}"},
        }  # fmt: skip


def pod(owner, name, address, ports, phase="Running"):
    """A pod as the API server tells it; `ports` are those that its process really has."""
    containers = [
        {"name": one["name"], "image": one["image"], "ports": [{"name": port, "containerPort": number, "protocol": "TCP"} for port, number in ports.items()]}
        for one in owner.containers
    ]
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "ballast", "uid": f"uid-{name}", "labels": owner.pod_labels},
        "spec": {"containers": containers, "nodeName": "node-1"},
        "status": {"phase": phase, "podIP": address, "podIPs": [{"ip": address}]},
    }  # fmt: skip


def node(name, address, kubelet):
    return {
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}, "spec": {},
        "status": {"addresses": [{"type": "InternalIP", "address": address}], "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet}}},
    }  # fmt: skip


KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: double
contexts: [{name: double, context: {cluster: double, user: pod, namespace: ballast}}]
clusters: [{name: double, cluster: {server: "%s"}}]
users: [{name: pod, user: {}}]
"""


class Mounted:
    """A ConfigMap as the kubelet mounts it: files are links through `..data`, which a new version replaces at once."""

    def __init__(self, directory, files):
        self.directory, self.version = directory, 0
        directory.mkdir()
        self.hold(files)
        for name in files:
            (directory / name).symlink_to(f"..data/{name}")

    def hold(self, files):
        old = self.directory / f"..{self.version}"
        self.version += 1
        new, link = self.directory / f"..{self.version}", self.directory / "..data_tmp"
        new.mkdir()
        for name, text in files.items():
            (new / name).write_text(text)
        link.symlink_to(new.name)
        link.rename(self.directory / "..data")
        shutil.rmtree(old, ignore_errors=True)


def balancer(directory, api, started):
    """The balancer with the ConfigMap's configuration, mounted as in a pod, except for where it listens and whom it asks."""
    kubeconfig = directory / "kubeconfig.yaml"
    kubeconfig.write_text(KUBECONFIG % api.url)
    config = Mounted(directory / "config", manifests.found(manifests.folder(), "ConfigMap", "load-balancer").data["data"])
    # Redis is away, which must not matter.
    return config, started(rig.Serving(
        directory, config.directory / "load-balancer.toml", BALLAST_LISTEN__TRAFFIC="127.0.0.1:0", BALLAST_LISTEN__ADMIN="127.0.0.1:0",
        BALLAST_STORE__URL="redis://127.0.0.1:1", BALLAST_DISCOVERY__KUBERNETES__KUBECONFIG=str(kubeconfig),
    ))  # fmt: skip
