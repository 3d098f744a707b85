"""What each program exposes, by name: the labels a query may rest on, or why none are known.

The balancer's come from docs/METRICS.md, which a test of its own holds against the code. Those of the backend and of
Locust are said here, and held against the running programs by test_stack.py. Node-exporter's depend on the machine: they
are known by prefix, and proved by the queries that return data.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROW = re.compile(r"^\| `(\w+)` \| ([\w ]+) \| ([^|]*) \|", re.MULTILINE)
CADVISOR = Path(__file__).resolve().parent / "cadvisor.txt"
# What --disable_metrics of cAdvisor 0.5x may name.
CADVISOR_GROUPS = frozenset(
    "advtcp cpu cpuLoad cpu_topology cpuset disk diskIO hugetlb memory memory_numa network oom_event percpu perf_event"
    " pressure process referenced_memory resctrl sched tcp udp".split()
)
# Given to every series by the scrape.
TARGET = frozenset({"job", "instance"})
COMPOSE = "container_label_com_docker_compose_"
CONTAINER = frozenset({"id", "name", "image", f"{COMPOSE}project", f"{COMPOSE}service"})

BACKEND = {
    "backend_connections": ("gauge", ()),
    "backend_connections_total": ("counter", ()),
    "backend_cpu_limit_cores": ("gauge", ()),
    "backend_cpu_usage_ratio": ("gauge", ()),
    "backend_healthy": ("gauge", ()),
    "backend_info": ("gauge", ("server", "region", "weight")),
    "backend_memory_bytes": ("gauge", ()),
    "backend_memory_limit_bytes": ("gauge", ()),
    "backend_memory_usage_ratio": ("gauge", ()),
    "backend_request_duration_seconds": ("histogram", ()),
    "backend_requests_in_flight": ("gauge", ()),
    "backend_requests_total": ("counter", ("code",)),
}
LOCUST = {
    "locust_state": ("gauge", ("state",)),
    "locust_users": ("gauge", ("user_class",)),
    "locust_requests_total": ("counter", ("method", "name", "algorithm")),
    "locust_failures_total": ("counter", ("method", "name", "algorithm")),
    "locust_errors_total": ("counter", ("method", "name", "error")),
    "locust_response_time_seconds": ("histogram", ("method", "name", "algorithm")),
    "locust_workers": ("gauge", ("state",)),
}
PROCESS = {
    "process_cpu_seconds_total": ("counter", ()),
    "process_max_fds": ("gauge", ()),
    "process_open_fds": ("gauge", ()),
    "process_resident_memory_bytes": ("gauge", ()),
    "process_start_time_seconds": ("gauge", ()),
    "process_threads": ("gauge", ()),
    "process_virtual_memory_bytes": ("gauge", ()),
}
QUEUE = ("remote_name", "url")
PROMETHEUS = {
    "up": ("gauge", ()),
    "scrape_samples_scraped": ("gauge", ()),
    "prometheus_rule_evaluation_failures_total": ("counter", ("rule_group",)),
    "prometheus_remote_storage_queue_highest_sent_timestamp_seconds": ("gauge", QUEUE),
    "prometheus_remote_storage_samples_failed_total": ("counter", QUEUE),
}


def balancer():
    """The families of docs/METRICS.md: name to type and labels."""
    rows = ROW.findall((ROOT / "docs" / "METRICS.md").read_text())
    assert rows, "docs/METRICS.md has no rows"
    return {name: (kind.split()[-1], tuple(re.findall(r"\w+", labels))) for name, kind, labels in rows}


def cadvisor():
    """The documented series: name to type and labels; a type is not said, so it follows from the name."""
    families = {}
    for line in CADVISOR.read_text().splitlines():
        name, *labels = line.split()
        if name != "#" and not name.startswith("["):
            own = CONTAINER if name.startswith("container_") else frozenset()
            families[name] = ("counter" if name.endswith("_total") else "gauge", (*labels, *own))
    return families


def cadvisor_groups():
    """The groups that those are in, but for what no flag turns off."""
    return set(re.findall(r"^\[(\w+)\]$", CADVISOR.read_text(), re.MULTILINE)) - {"always"}


def series(families):
    """What a scrape of `families` leaves in Prometheus: name to labels, histograms taken apart."""
    found = {}
    for name, (kind, labels) in families.items():
        own = TARGET.union(labels)
        if kind == "histogram":
            found |= {f"{name}_bucket": own | {"le"}, f"{name}_sum": own, f"{name}_count": own}
        else:
            found[name] = own
    return found


def world():
    """Every series that a query may name: name to its labels."""
    families = [balancer(), BACKEND, LOCUST, PROCESS, PROMETHEUS, cadvisor()]
    return {name: labels for part in families for name, labels in series(part).items()}


def family(name, families):
    """The family a series belongs to: its own name, or that of its histogram."""
    stem = re.sub(r"_(bucket|sum|count)$", "", name)
    return name if name in families else stem if stem in families else None
