"""Who may speak to whom by the policies: all pairs of pods, computed, against what the system needs."""

from manifests import chosen, of_kind, workloads

# Who has to speak to whom, at which port by name; all other pairs are closed.
NEEDED = {
    ("load-balancer", "backend-apac", "http"), ("load-balancer", "backend-eu", "http"), ("load-balancer", "backend-us", "http"),
    ("load-balancer", "redis", "redis"),
    ("prometheus", "load-balancer", "admin"),
    ("prometheus", "backend-apac", "http"), ("prometheus", "backend-eu", "http"), ("prometheus", "backend-us", "http"),
    ("grafana", "prometheus", "http"),
}  # fmt: skip
# Ports of what is no pod of ours: names, the API server, kubelets, node-exporter.
OUTSIDE = {53, 443, 6443, 8443, 9100, 10250}
# Who may ask whom outside.
OUTWARDS = {"load-balancer": {53, 443, 6443, 8443}, "prometheus": OUTSIDE, "redis": {53}, "grafana": {53}, "backend": {53}}


def mine(objects, labels, direction):
    policies = of_kind(objects, "NetworkPolicy")
    return [one for one in policies if direction in one.spec["policyTypes"] and chosen(one.spec["podSelector"], labels)]


def lets(objects, labels, direction, other, port):
    """Whether pods with `labels` may be asked by (Ingress) or ask (Egress) pods with the labels `other` at `port`."""
    policies = mine(objects, labels, direction)
    side = "from" if direction == "Ingress" else "to"
    for policy in policies:
        for rule in policy.spec.get(direction.lower(), []):
            peers = rule.get(side)
            ours = [peer["podSelector"] for peer in peers or [] if "podSelector" in peer and "namespaceSelector" not in peer]
            if any(entry["port"] == port for entry in rule["ports"]) and (not peers or any(chosen(one, other) for one in ours)):
                return True
    return not policies


def open_pairs(objects):
    """Who may speak to whom, at which port."""
    for source in workloads(objects):
        for target in workloads(objects):
            for name, port in target.ports().items():
                sends = lets(objects, source.pod_labels, "Egress", target.pod_labels, port)
                if sends and lets(objects, target.pod_labels, "Ingress", source.pod_labels, port):
                    yield source.name, target.name, name


def flows(objects):
    """The pairs that are open are those that are needed, and clients reach the balancer."""
    found = set(open_pairs(objects))
    for pair in sorted(NEEDED - found):
        yield f"the policies keep {pair[0]} from {pair[1]} at {pair[2]}"
    for pair in sorted(found - NEEDED):
        yield f"the policies let {pair[0]} speak to {pair[1]} at {pair[2]}"
    client = {"from": "anywhere"}
    for one in workloads(objects):
        for name, port in one.ports().items():
            if lets(objects, one.pod_labels, "Ingress", client, port) is not ((one.name, name) == ("load-balancer", "http")):
                yield f"{one}: clients' way to its port {name} is wrong"


def policies(objects):
    """Each policy is about pods that are there, and ports that they have."""
    pods = workloads(objects)
    for one in of_kind(objects, "NetworkPolicy"):
        chosen_pods = [pod for pod in pods if chosen(one.spec["podSelector"], pod.pod_labels)]
        if not chosen_pods:
            yield f"{one} is about nobody"
        for rule in one.spec.get("ingress", []):
            yield from strange_ports(one, rule, chosen_pods, ())
            yield from strangers(one, rule.get("from", []), pods)
        for rule in one.spec.get("egress", []):
            peers = rule.get("to", [])
            asked = [pod for pod in pods for peer in peers if chosen(peer.get("podSelector", {}), pod.pod_labels)]
            yield from strange_ports(one, rule, asked, OUTSIDE)
            yield from strangers(one, peers, pods)


def strange_ports(one, rule, pods, others):
    known = {port for pod in pods for port in pod.ports().values()}.union(others)
    for entry in rule["ports"]:
        if entry["port"] not in known:
            yield f"{one}: port {entry['port']} is nobody's"


def strangers(one, peers, pods):
    for peer in peers:
        if set(peer) == {"podSelector"} and not any(chosen(peer["podSelector"], pod.pod_labels) for pod in pods):
            yield f"{one} names a peer that is not there: {peer}"


def outwards(objects):
    """What leaves to who is no pod of ours is names for all, and for two the API server."""
    for pod in workloads(objects):
        sent = {
            entry["port"]
            for policy in mine(objects, pod.pod_labels, "Egress")
            for rule in policy.spec.get("egress", [])
            for entry in rule["ports"]
            if any("podSelector" not in peer for peer in rule.get("to", [{}]))
        }
        wanted = OUTWARDS[pod.pod_labels["app.kubernetes.io/name"]]
        if sent != wanted:
            yield f"{pod} may ask outside at {sorted(sent)}, not at {sorted(wanted)}"


ALL = (flows, policies, outwards)
