"""What must hold between manifests, which no schema knows. Each rule yields its faults, as text."""

import json
import re

import yaml
from manifests import CLUSTER_WIDE, applied_size, chosen, found, of_kind, workloads
from rig import ROOT

# Of an object that is applied; 262,144 are allowed for all its annotations.
APPLIED_MAX = 250 * 1024
# What the balancer may do to whom.
BALANCER_MAY = [{"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]}]
# Who asks the API server.
WITH_TOKEN = ("load-balancer", "prometheus")
# Volumes that a restricted pod may have.
VOLUMES = {"configMap", "downwardAPI", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
GROUPS = (
    "v1", "apps/v1", "autoscaling/v2", "networking.k8s.io/v1", "policy/v1", "rbac.authorization.k8s.io/v1",
)  # fmt: skip


def kinds(objects):
    """Nothing that a bare cluster does not know, nothing twice, all in our namespace, which comes first."""
    if objects[0].kind != "Namespace":
        yield f"{objects[0]} comes before the namespace"
    own, seen = objects[0].name, set()
    for one in objects:
        key = (one.kind, one.name)
        if key in seen:
            yield f"{one} is there twice"
        seen.add(key)
        if one.data["apiVersion"] not in GROUPS:
            yield f"{one}: {one.data['apiVersion']} is not part of every cluster"
        if one.namespace != (None if one.kind in CLUSTER_WIDE else own):
            yield f"{one} is in namespace {one.namespace}"
        if one.kind == "Secret":
            yield f"{one}: secrets are not for a repository"


def files(objects):
    """Files are applied in the order of their names."""
    for one in objects:
        if not re.fullmatch(r"\d\d-[a-z0-9-]+\.yaml", one.file):
            yield f"{one.file} has no number"


def selectors(objects):
    """What a workload makes is what it selects, and selects no other's."""
    for one in workloads(objects):
        selector = one.spec["selector"]
        if not chosen(selector, one.pod_labels):
            yield f"{one} does not select its own pods"
        for other in workloads(objects):
            if other is not one and chosen(selector, other.pod_labels):
                yield f"{one} selects the pods of {other.name}"
        for spread in one.pod.get("topologySpreadConstraints", []):
            if not chosen(spread["labelSelector"], one.pod_labels):
                yield f"{one} spreads pods that are not its own"


def services(objects):
    """A Service selects pods, and all of them have its ports."""
    for one in of_kind(objects, "Service"):
        backed = [other for other in workloads(objects) if chosen({"matchLabels": one.spec["selector"]}, other.pod_labels)]
        if not backed:
            yield f"{one} selects nothing"
        for port in one.spec["ports"]:
            target = port["targetPort"]
            for other in backed:
                if not isinstance(target, str) or target not in other.ports():
                    yield f"{one}: {other.name} has no port {target}"


def references(objects):
    """What a pod refers to is there; what is secret may be absent."""
    for one in workloads(objects):
        for volume in one.pod.get("volumes", []):
            for source in [volume, *volume.get("projected", {}).get("sources", [])]:
                yield from missing_keys(objects, one, source.get("configMap"))
                if "secret" in source:
                    yield from not_optional(one, source["secret"], "secretName")
            claim = volume.get("persistentVolumeClaim")
            if claim and not found(objects, "PersistentVolumeClaim", claim["claimName"]):
                yield f"{one}: there is no claim {claim['claimName']}"
        for container in one.containers:
            for variable in container.get("env", []):
                origin = variable.get("valueFrom", {})
                if "secretKeyRef" in origin:
                    yield from not_optional(one, origin["secretKeyRef"], "name")
                yield from missing_keys(objects, one, origin.get("configMapKeyRef"))
        account = one.pod.get("serviceAccountName")
        if account and not found(objects, "ServiceAccount", account):
            yield f"{one}: there is no account {account}"


def missing_keys(objects, one, wanted):
    if not wanted:
        return
    holder = found(objects, "ConfigMap", wanted["name"])
    keys = [item["key"] for item in wanted.get("items", [])] + ([wanted["key"]] if "key" in wanted else [])
    if not holder:
        yield f"{one}: there is no ConfigMap {wanted['name']}"
        return
    for key in keys:
        if key not in holder.data["data"]:
            yield f"{one}: ConfigMap {wanted['name']} has no {key}"


def not_optional(one, wanted, field):
    if wanted[field] != "ballast" or not wanted.get("optional"):
        yield f"{one} needs the Secret {wanted[field]}, which the repository cannot have"


def mounts(objects):
    """Every mount has its volume, every volume its mount; a single file of a ConfigMap would never change."""
    for one in workloads(objects):
        volumes = [volume["name"] for volume in one.pod.get("volumes", [])]
        mounted = [mount for container in one.containers for mount in container.get("volumeMounts", [])]
        if {mount["name"] for mount in mounted} != set(volumes) or len(set(volumes)) != len(volumes):
            yield f"{one}: volumes {volumes} are not those that are mounted"
        for mount in mounted:
            if "subPath" in mount:
                yield f"{one}: {mount['mountPath']} is a subPath"


def rights(objects):
    """Bindings join what is there; the balancer may read EndpointSlices and nothing else; nobody may anything by a star."""
    for one in of_kind(objects, "RoleBinding", "ClusterRoleBinding"):
        role = one.data["roleRef"]
        if not found(objects, role["kind"], role["name"]):
            yield f"{one}: there is no {role['kind']} {role['name']}"
        for subject in one.data["subjects"]:
            account = found(objects, subject["kind"], subject["name"])
            if not account or account.namespace != subject["namespace"]:
                yield f"{one}: there is no {subject['kind']} {subject['name']} in {subject['namespace']}"
            elif role["kind"] == "ClusterRole" and subject["name"] == "load-balancer":
                yield f"{one}: the balancer's rights end with its namespace"
    for one in of_kind(objects, "Role", "ClusterRole"):
        if "*" in json.dumps(one.data["rules"]):
            yield f"{one} has a star"
        if one.name == "load-balancer" and one.data["rules"] != BALANCER_MAY:
            yield f"{one} may more than read EndpointSlices, or less"
        if any("proxy" in resource for rule in one.data["rules"] for resource in rule["resources"]):
            yield f"{one} may run commands through a kubelet"


def scaling(objects):
    """Budgets protect what is there and let nodes be drained; an autoscaler owns the number and has something to measure."""
    for one in of_kind(objects, "PodDisruptionBudget"):
        if not any(chosen(one.spec["selector"], other.pod_labels) for other in workloads(objects)):
            yield f"{one} protects nothing"
        if one.spec.get("maxUnavailable") != 1:
            yield f"{one} may hold up the draining of a node"
    for one in of_kind(objects, "HorizontalPodAutoscaler"):
        target = one.spec["scaleTargetRef"]
        scaled = found(objects, target["kind"], target["name"])
        if not scaled or scaled.data["apiVersion"] != target["apiVersion"]:
            yield f"{one}: there is no {target['kind']} {target['name']}"
        elif "replicas" in scaled.spec:
            yield f"{scaled} has replicas, which each apply would set back"
        if one.spec["minReplicas"] < 2 or one.spec["maxReplicas"] < one.spec["minReplicas"]:
            yield f"{one} may leave fewer than two"
    for one in workloads(objects):
        scaled = any(other.spec["scaleTargetRef"]["name"] == one.name for other in of_kind(objects, "HorizontalPodAutoscaler"))
        if not scaled and one.kind == "Deployment" and "replicas" not in one.spec:
            yield f"{one}: nobody says how many"


def sizes(objects):
    """An apply keeps a copy in an annotation."""
    for one in objects:
        if applied_size(one) > APPLIED_MAX:
            yield f"{one} has {applied_size(one)} bytes, of {APPLIED_MAX}"


def images(objects):
    """Tags are pinned, and compose's."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].values()
    known = {one["image"] for one in compose if "image" in one}
    for one in workloads(objects):
        for container in one.containers:
            if container["image"] not in known:
                yield f"{one}: {container['image']} is not an image of docker-compose.yml"
            if container.get("imagePullPolicy") != "IfNotPresent":
                yield f"{one}: an image that was loaded into a node would be pulled all the same"


def restricted(objects):
    """What the Pod Security Standard `restricted` asks for, and beyond it: numbers for users, read-only, no needless token."""
    for one in workloads(objects):
        pod, own = one.pod, one.pod.get("securityContext", {})
        if any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{one} shares the node's"
        if own.get("runAsNonRoot") is not True or not own.get("runAsUser") or own.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{one}: not runAsNonRoot with a number, or without a seccomp profile"
        if pod.get("enableServiceLinks") is not False:
            yield f"{one} is given variables of other services, which begin with BALLAST_ for one that is called so"
        if pod.get("automountServiceAccountToken") is not (one.name in WITH_TOKEN):
            yield f"{one}: a token where none is needed, or none where it is"
        for volume in pod.get("volumes", []):
            if not VOLUMES.issuperset(volume.keys() - {"name"}):
                yield f"{one}: volume {volume['name']} is not of a restricted kind"
        for container in one.containers:
            context = container.get("securityContext", {})
            wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
            if context != wanted:
                yield f"{one}: container {container['name']} is not closed: {context}"
            if any("hostPort" in port for port in container.get("ports", [])):
                yield f"{one} takes a port of the node"


def resources(objects):
    """Requests for the scheduler and the autoscaler, a memory limit for all, a CPU limit for all but the balancer."""
    for one in workloads(objects):
        for container in one.containers:
            requests = container["resources"].get("requests", {})
            limits = container["resources"].get("limits", {})
            if requests.keys() != {"cpu", "memory"} or "memory" not in limits:
                yield f"{one}: container {container['name']} lacks a request or its memory's limit"
            if ("cpu" in limits) is (one.name == "load-balancer"):
                yield f"{one}: a CPU limit on the balancer, or none elsewhere"


def probes(objects):
    """Three each, on ports that are there; what ends a process asks less than what takes it out of the Service."""
    for one in workloads(objects):
        for container in one.containers:
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                probe = container.get(kind)
                if not probe:
                    yield f"{one} has no {kind}"
                    continue
                asked = probe.get("httpGet") or probe.get("tcpSocket") or {}
                if "exec" not in probe and asked.get("port") not in one.ports():
                    yield f"{one}: {kind} asks port {asked.get('port')}"
            if one.name == "load-balancer":
                paths = [container.get(kind, {}).get("httpGet", {}).get("path") for kind in ("startupProbe", "livenessProbe", "readinessProbe")]
                if paths != ["/health", "/health", "/ready"]:
                    yield f"{one}: probes ask {paths}"


ALL = (kinds, files, selectors, services, references, mounts, rights, scaling, sizes, images, restricted, resources, probes)
