"""A double of the Kubernetes API server, as far as `kubectl apply` and the discovery of the balancer and Prometheus go.

It keeps objects and answers discovery, gets, lists, watches (which tell nothing new), creations and merge patches. Like the
real one it refuses what has no namespace yet, what the schema of its version does not allow, and annotations beyond 256
KiB. It runs nothing: no controller, no scheduler, no admission.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate

VERSION = "1.33.0"
ANNOTATIONS_MAX = 256 * 1024
# Group and version to the resources in it: plural, kind, whether they are in namespaces.
RESOURCES = {
    "v1": [
        ("configmaps", "ConfigMap", True), ("namespaces", "Namespace", False), ("nodes", "Node", False),
        ("persistentvolumeclaims", "PersistentVolumeClaim", True), ("pods", "Pod", True),
        ("serviceaccounts", "ServiceAccount", True), ("services", "Service", True),
    ],
    "apps/v1": [("daemonsets", "DaemonSet", True), ("deployments", "Deployment", True)],
    "autoscaling/v2": [("horizontalpodautoscalers", "HorizontalPodAutoscaler", True)],
    "discovery.k8s.io/v1": [("endpointslices", "EndpointSlice", True)],
    "networking.k8s.io/v1": [("networkpolicies", "NetworkPolicy", True)],
    "policy/v1": [("poddisruptionbudgets", "PodDisruptionBudget", True)],
    "rbac.authorization.k8s.io/v1": [
        ("clusterroles", "ClusterRole", False), ("clusterrolebindings", "ClusterRoleBinding", False),
        ("roles", "Role", True), ("rolebindings", "RoleBinding", True),
    ],
}  # fmt: skip


def discovery(path):
    """What is asked before anything else: groups, versions, resources."""
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = []
        for version in RESOURCES.keys() - {"v1"}:
            one = {"groupVersion": version, "version": version.partition("/")[2]}
            groups.append({"name": version.partition("/")[0], "versions": [one], "preferredVersion": one})
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    version = path.removeprefix("/apis/").removeprefix("/api/")
    if version not in RESOURCES:
        return None
    verbs = ["create", "get", "list", "patch", "watch"]
    named = lambda plural, kind, own: {"name": plural, "kind": kind, "namespaced": own, "singularName": kind.lower(), "verbs": verbs}  # noqa: E731
    resources = [named(*one) for one in RESOURCES[version]]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}


def merged(old, patch):
    """RFC 7396, and what kubectl adds where a field is replaced whole."""
    if not isinstance(patch, dict):
        return patch
    if patch.get("$patch") == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


class Refused(Exception):
    """A status and its reason, as the API server says them."""

    def __init__(self, code, reason, message):
        super().__init__(message)
        self.code, self.reason = code, reason


class Api:
    """The server, on a port of 127.0.0.1; `created` and `patched` name objects in the order of their coming."""

    def __init__(self):
        self.objects, self.created, self.patched = {}, [], []
        self.closing, self.lock = threading.Event(), threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"api": self}))
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def stop(self):
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def put(self, collection, *objects):
        """Has objects there without anybody's asking, as a controller's work is."""
        for one in objects:
            one["metadata"].setdefault("resourceVersion", "1")
            self.objects[f"{collection}/{one['metadata']['name']}"] = one

    def create(self, collection, one):
        name, namespace = one["metadata"]["name"], one["metadata"].get("namespace")
        with self.lock:
            if namespace and f"/api/v1/namespaces/{namespace}" not in self.objects:
                raise Refused(404, "NotFound", f'namespaces "{namespace}" not found')
            self.sound(one)
            one["metadata"]["resourceVersion"] = "1"
            self.objects[f"{collection}/{name}"] = one
            self.created.append((one["kind"], name))
        return one

    def patch(self, path, patch):
        with self.lock:
            one = merged(self.objects[path], patch)
            self.sound(one)
            self.objects[path] = one
            self.patched.append((one["kind"], one["metadata"]["name"]))
        return one

    @staticmethod
    def sound(one):
        annotations = one["metadata"].get("annotations", {})
        if sum(len(key) + len(value.encode()) for key, value in annotations.items()) > ANNOTATIONS_MAX:
            raise Refused(422, "Invalid", "metadata.annotations: Too long: must have at most 262144 bytes")
        try:
            kubernetes_validate.validate(one, VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            raise Refused(422, "Invalid", f"{'.'.join(map(str, error.path))}: {error.message}") from error

    def listed(self, path, query):
        """A collection, whole or by labels; across namespaces where none is named."""
        version, _, plural = path.rpartition("/")
        root = version.partition("/namespaces/")[0]
        known = RESOURCES.get(root.removeprefix("/apis/").removeprefix("/api/"), [])
        kind = next((kind for name, kind, _ in known if name == plural), None)
        if not kind:
            raise Refused(404, "NotFound", f"there is no {path}")
        wanted = dict(one.split("=") for one in query.get("labelSelector", [""])[0].split(",") if one)
        within = path + "/"
        there = [one for key, one in sorted(self.objects.items()) if key.startswith(within)]
        items = [one for one in there if wanted.items() <= one["metadata"].get("labels", {}).items()]
        group = root.removeprefix("/apis/").removeprefix("/api/")
        return {"kind": f"{kind}List", "apiVersion": group, "metadata": {"resourceVersion": "1"}, "items": items}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # An answer is sent at once, not in two pieces with a wait between.
    disable_nagle_algorithm = True
    api: Api

    def log_message(self, *_):
        """Says nothing."""

    def do_GET(self):
        address = urlsplit(self.path)
        query = parse_qs(address.query)
        if "watch" in query:
            self.watch(float(query.get("timeoutSeconds", ["60"])[0]))
        else:
            self.answered(lambda: discovery(address.path) or self.api.objects.get(address.path) or self.api.listed(address.path, query))

    def do_POST(self):
        body = self.body()
        self.answered(lambda: self.api.create(urlsplit(self.path).path, body), 201)

    def do_PATCH(self):
        body = self.body()
        self.answered(lambda: self.api.patch(urlsplit(self.path).path, body))

    def body(self):
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def answered(self, make, code=200):
        try:
            answer = make()
        except Refused as refused:
            code = refused.code
            answer = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": refused.reason}
            answer["message"] = str(refused)
        text = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def watch(self, seconds):
        """Nothing happens until its time is over, or ours."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        self.api.closing.wait(seconds)
        self.wfile.write(b"0\r\n\r\n")
