"""What configuration inside manifests says, against the manifests around it."""

import re
import tomllib

import yaml
from manifests import FOLDER, chosen, found, of_kind, scrapes, settings, workloads
from rig import ROOT

SECONDS = {"ms": 0.001, "s": 1, "m": 60}
# backend::STOP_WITHIN
BACKEND_STOPS_WITHIN = 10
# What the balancer may need beyond draining: its farewell to the store, the last spans (docker-compose.yml says the same).
FAREWELL = 24


def seconds(text):
    if text == "0":
        return 0
    number, unit = re.fullmatch(r"(\d+)(ms|s|m)", text).groups()
    return int(number) * SECONDS[unit]


def ports(objects):
    """The balancer listens where its pod says, and finds Redis where the Service is."""
    config = tomllib.loads(settings(objects))
    listens = {"http": config["listen"]["traffic"], "admin": config["listen"]["admin"]}
    balancer = found(objects, "Deployment", "load-balancer")
    for name, address in listens.items():
        if int(address.rpartition(":")[2]) != balancer.ports().get(name):
            yield f"{balancer}: the port {name} is not {address}"
        if address.startswith("127."):
            yield f"{address} cannot be reached from outside the pod"
    host, _, port = config["store"]["url"].removeprefix("redis://").partition(":")
    store = found(objects, "Service", host)
    if not store or int(port) not in [one["port"] for one in store.spec["ports"]]:
        yield f"there is no Service for {config['store']['url']}"


def discovery(objects):
    """What the balancer looks for is what backends' Services have, and no other Service."""
    config = tomllib.loads(settings(objects))["discovery"]
    if config["source"] != "kubernetes":
        yield "discovery is off"
    own = config["kubernetes"]
    selector = {"matchLabels": dict([own["selector"].split("=")])}
    regions = set()
    for one in of_kind(objects, "Service"):
        backs = any(pod.name.startswith("backend-") for pod in workloads(objects) if chosen({"matchLabels": one.spec["selector"]}, pod.pod_labels))
        if chosen(selector, one.labels) is not backs:
            yield f"{one}: discovery takes it for what it is not"
        if backs:
            regions.add(one.labels.get(own["region_label"]))
            if own["port"] not in [port["name"] for port in one.spec["ports"]]:
                yield f"{one} has no port {own['port']}"
            if one.spec["clusterIP"] != "None":
                yield f"{one} balances by itself"
    if len(regions - {None}) != 3:
        yield f"the regions are {regions}"


def backends(objects):
    """Deployments of backends differ, each says what its Service says, and their sizes follow their weights."""
    sizes = []
    for one in workloads(objects):
        if not one.name.startswith("backend-"):
            continue
        [container] = one.containers
        env = {variable["name"]: variable.get("value") for variable in container["env"]}
        service = found(objects, "Service", one.name)
        labels = (service.labels["ballast/region"], service.labels["ballast/weight"]) if service else None
        if labels != (env["REGION"], env["WEIGHT"]) or one.pod_labels["ballast/region"] != env["REGION"]:
            yield f"{one} says {env}, its Service {labels}"
        cpu = container["resources"]["limits"]["cpu"]
        sizes.append((int(env["WEIGHT"]), float(cpu.removesuffix("m")) / (1000 if cpu.endswith("m") else 1)))
    sizes.sort()
    if len(sizes) != 3 or len(set(sizes)) != 3 or [cpu for _, cpu in sizes] != sorted({cpu for _, cpu in sizes}):
        yield f"weights and CPUs are {sizes}"


def graces(objects):
    """Nothing is killed while it drains."""
    timeouts = tomllib.loads(settings(objects)).get("timeouts", {})
    drains = seconds(timeouts.get("drain", "30s")) + seconds(timeouts.get("drain_delay", "0")) + FAREWELL
    for one in workloads(objects):
        sleeps = sum(container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0) for container in one.containers)
        takes = drains if one.name == "load-balancer" else BACKEND_STOPS_WITHIN if one.name.startswith("backend-") else 0
        if one.pod["terminationGracePeriodSeconds"] < sleeps + takes:
            yield f"{one} is killed after {one.pod['terminationGracePeriodSeconds']} s, and takes {sleeps + takes}"
        if takes and not sleeps:
            yield f"{one} stops while others still send to it"


def scraped(objects):
    """Each job of ours is one of compose's, with its interval and limit; what it looks for is there, and it may look."""
    ours = scrapes(objects)
    theirs = yaml.safe_load((ROOT / "monitoring" / "prometheus.yml").read_text())
    if ours["global"] != theirs["global"]:
        yield "intervals differ from those in monitoring/prometheus.yml"
    known = {job["job_name"]: job for job in theirs["scrape_configs"]}
    if {job["job_name"] for job in ours["scrape_configs"]} != known.keys():
        yield "jobs differ from those in monitoring/prometheus.yml"
    for job in ours["scrape_configs"]:
        other = known.get(job["job_name"], {})
        for key in ("sample_limit", "scrape_interval", "scrape_timeout"):
            if job.get(key) != other.get(key):
                yield f"job {job['job_name']}: {key} differs from monitoring/prometheus.yml"
        for source in job.get("kubernetes_sd_configs", []):
            yield from looks_for(objects, job, source)


def looks_for(objects, job, source):
    resource, kind, scope = ("nodes", "ClusterRole", "ballast-prometheus") if source["role"] == "node" else ("pods", "Role", "prometheus")
    role = found(objects, kind, scope)
    verbs = [rule["verbs"] for rule in role.data["rules"] if resource in rule["resources"]] if role else []
    if not any({"list", "watch"}.issubset(allowed) for allowed in verbs):
        yield f"job {job['job_name']} may not list {resource}"
    [selector] = source.get("selectors", [None])
    # Locust is an extra.
    if selector and job["job_name"] != "locust":
        selected = [one for one in workloads(objects) if chosen({"matchLabels": dict([selector["label"].split("=")])}, one.pod_labels)]
        wanted = [rule["regex"] for rule in job["relabel_configs"] if rule.get("action") == "keep"]
        if not selected or any(set(wanted) - one.ports().keys() for one in selected):
            yield f"job {job['job_name']} finds nothing: {selector['label']} with ports {wanted}"


def grafana(objects):
    """Its data source is a Service, and every dashboard is mounted."""
    provisioning = found(objects, "ConfigMap", "grafana-provisioning").data["data"]
    [source] = yaml.safe_load(provisioning["prometheus.yml"])["datasources"]
    host, _, port = source["url"].removeprefix("http://").partition(":")
    service = found(objects, "Service", host)
    if not service or int(port) not in [one["port"] for one in service.spec["ports"]]:
        yield f"there is no Service for {source['url']}"
    pod = found(objects, "Deployment", "grafana").pod
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounted = {one["configMap"]["name"] for one in volumes["dashboards"]["projected"]["sources"]}
    written = {file.stem.partition("-")[2] for file in FOLDER.glob("62-*.yaml")}
    if mounted != written:
        yield f"dashboards that are mounted and not there, or the reverse: {mounted ^ written}"
    [provider] = yaml.safe_load(provisioning["lb.yml"])["providers"]
    paths = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    if paths.get("dashboards") != provider["options"]["path"] or paths.get("provisioning") != "/etc/grafana/provisioning":
        yield f"Grafana looks for dashboards in {provider['options']['path']}, they are in {paths}"


ALL = (ports, discovery, backends, graces, scraped, grafana)
