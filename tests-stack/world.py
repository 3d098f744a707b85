"""The whole system under load, once: six backends that differ, the balancer, node-exporter, Locust, InfluxDB, Prometheus, a
receiver of spans; and what happens to it, so that no panel is empty because nothing went wrong."""

import concurrent.futures
import http.client
import json
import time
import urllib.request

import rig
from certificates import Authority
from redis_server import Redis
from services import Influx, Prometheus
from test_locust import Locust
from test_signals import Exporter
from test_traces import Http

# Weights and regions of row G; two are slower than the rest.
BACKENDS = {
    "backend1": ("APAC", 2, 0), "backend2": ("EU", 3, 0), "backend3": ("US", 1, 0),
    "backend4": ("APAC", 3, 8), "backend5": ("EU", 4, 0), "backend6": ("US", 2, 20),
}  # fmt: skip
# Not in the configuration, but in a file of discovery.
DISCOVERED = "backend6"
USERS = 60
# Requests at once: more than the 12 for each backend, fewer than those and the queue.
CROWD = 100
SCARCE = ("lb_queue_wait_seconds_count", "lb_rate_limited_total")
UPGRADE = {
    "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}  # fmt: skip
# Each step ends with something that Prometheus must have seen; on a busy machine that takes a while.
WITHIN = 60
EVERY = 0.25

CONFIG = """\
[listen]
traffic = "127.0.0.1:0"
admin = "127.0.0.1:0"
tls = "127.0.0.1:0"
[[tls.certificate]]
chain = "{chain}"
key = "{key}"
[client]
trusted_proxies = ["127.0.0.1/32"]
[control]
registration = true
[health]
path = "/metrics"                 # stays sound where requests are made to fail
interval = "500ms"
edge_interval = "100ms"
[signals]
source = "metrics"
interval = "500ms"
timeout = "450ms"
[signals.map]                     # busy for a human eye, so that capacities are measured at this load
utilization = {{ metric = "backend_request_duration_seconds_sum", as = "rate", over = 0.5 }}
connections_limit = 100
[traces]
endpoint = "{spans}"
sample = 0.1
[store]
url = "redis://127.0.0.1:{store}"
[access_log]
format = "json"
path = "{directory}/access.log"
[state]
file = "{directory}/state.json"
[discovery]
source = "file"
[discovery.file]
path = "{directory}/found.toml"
[limits]
memory = "4GiB"                   # a limit to be seen, not to be met
[[rate_limits]]
name = "scarce"
key = "all"
rate = 1.0
burst = 1
paths = ["/scarce"]
[pool]
algorithm = "{algorithm}"
slow_start = "2s"
max_in_flight = {ceiling}
"""


class World:
    """Everything that runs; `events` tells what happened to it, in order."""

    def __init__(self, directory, started):
        self.directory, self.started = directory, started
        self.began = time.time()
        self.backends = {}
        for name, (region, weight, latency) in BACKENDS.items():
            flags = ("--region", region, "--weight", weight, "--fault")
            self.backends[name] = started(rig.Backend(directory, name, 0, *flags))
            self.backends[name].fault(latency_ms=latency)
        self.spans = started(Http())
        self.redis = started(Redis(directory))
        self.certificate = Authority(directory).issue("balancer", "127.0.0.1")
        self.config = directory / "balancer.toml"
        self.configure("round_robin")
        self.balancer = started(rig.Serving(directory, self.config))
        rig.until(lambda: self.balancer.eligible() == len(BACKENDS), "every backend eligible")
        self.exporter = started(Exporter(directory / "node-exporter"))
        self.influx = started(Influx(directory))
        self.locust = started(Locust(
            directory, self.balancer.traffic, "--headless", "-u", USERS, "-r", USERS, "-t", "10m", "--only-summary",
            RATE=2, REGIONS="APAC,EU,US", METRICS_PORT=0,
        ))  # fmt: skip
        self.locust_metrics = self.locust.own_port()
        self.prometheus = started(Prometheus(directory, self.addresses(), self.influx))
        self.seen("every target up", 'sum(up) == count(up) and count(up) == 10')
        self.seen("requests by every algorithm", "count(sum by (algorithm) (rate(locust_requests_total[10s]) > 0)) == 10")

    def addresses(self):
        """What the containers' addresses are here; there is no cAdvisor."""
        host = lambda url: url.removeprefix("http://").removesuffix("/metrics")  # noqa: E731
        backends = {f"{name}:5000": backend.address for name, backend in self.backends.items()}
        return backends | {
            "load-balancer:9901": host(self.balancer.admin),
            "node-exporter:9100": self.exporter.address,
            "locust:8089": host(self.locust_metrics),
        }

    def configure(self, algorithm, ceiling=0):
        chain, key = self.certificate
        text = CONFIG.format(
            directory=self.directory, spans=self.spans.endpoint, store=self.redis.port, algorithm=algorithm, ceiling=ceiling,
            chain=chain, key=key,
        )  # fmt: skip
        found = ""
        for name, (region, weight, _) in BACKENDS.items():
            address = self.backends[name].address
            entry = f'backend]]\nname = "{name}"\naddress = "{address}"\nregion = "{region}"\nweight = {weight}\n'
            if name == DISCOVERED:
                found = f"[[{entry}"
            else:
                text += f"[[pool.{entry}"
        (self.directory / "found.toml").write_text(found)
        self.config.write_text(text)

    def seen(self, what, query):
        """Waits until Prometheus answers `query` with something other than nothing and 0."""
        rig.until(lambda: self.prometheus.value(query, nothing=0) > 0, f"{what}: {query}", WITHIN, EVERY)

    def live_through_everything(self):
        for event in (self.visitors, self.ejection, self.crash, self.refused, self.denied, self.reload, self.registration, self.crowd):
            event()

    def visitors(self):
        """Answers of every class, and clients on connections of their own, of every kind of address."""
        classes = '{code=~"101|301|404"}'
        self.visit()
        self.seen("each class", f"count(sum by (code) (lb_requests_total{classes})) == 3")
        # A series that begins with its first count has no rate yet.
        self.visit()
        self.seen("their rates", f"count(sum by (code) (rate(lb_requests_total{classes}[10s])) > 0) == 3")

    def visit(self):
        for address in ("193.0.0.1", "8.8.8.8", "202.12.29.1", "240.0.0.1", "10.0.0.1"):
            for path, headers in (("/status/301", {}), ("/status/404", {}), ("/ws", UPGRADE)):
                host, _, port = self.balancer.traffic.removeprefix("http://").rpartition(":")
                client = http.client.HTTPConnection(host, int(port), timeout=10)
                client.request("GET", path, headers={"X-Forwarded-For": address, **headers})
                client.getresponse()
                client.close()

    def ejection(self):
        """A backend that passes its checks and fails requests: some, for a while, and then all."""
        self.backends["backend3"].fault(error_rate=0.1)
        self.seen("failures at the clients", "sum(increase(locust_errors_total[10s]))")
        self.backends["backend3"].fault(error_rate=1.0)
        self.seen("an ejection", 'sum(lb_backend_ejections_total{backend="backend3"})')
        self.seen("its state", 'lb_backend_state{backend="backend3",state="ejected"}')
        self.backends["backend3"].fault(error_rate=0.0)
        self.seen("its return", 'lb_backend_healthy{backend="backend3"}')

    def crash(self):
        """A region's backends are gone: their requests are retried elsewhere, and its clients served from other regions."""
        names = [name for name, (region, *_) in BACKENDS.items() if region == "EU"]
        for name in names:
            self.backends[name].kill()
        self.seen("retries", 'sum(lb_retries_total{outcome="success"})')
        self.seen("spill-over", 'sum(lb_geo_spillover_total{client_region="EU",reason="unavailable"})')
        for name in names:
            self.backends[name] = self.started(self.backends[name].restart())
        self.seen("their return", "sum(lb_backend_healthy) == 6")

    def refused(self):
        """A configuration with a fault, which changes nothing."""
        self.configure("fastest")
        self.seen("a refusal", 'lb_config_reloads_total{result="refused"} > 0 and on () lb_config_last_reload_successful == 0 or vector(0)')

    def denied(self):
        """A change that comes by a proxy, hence from who knows whom."""
        code, said = self.remove("backend1", {"X-Forwarded-For": "192.0.2.1"})
        assert code == 403, said
        self.seen("it counted", 'sum(lb_control_requests_total{code="403"})')

    def reload(self):
        """Another algorithm is the pool's."""
        self.configure("adaptive")
        self.seen("a switch", 'sum(lb_algorithm_switches_total{to="adaptive"})')
        self.seen("it in force", 'lb_algorithm_active{algorithm="adaptive"}')

    def registration(self):
        """A backend comes by itself, and is removed."""
        register = ("--register-url", f"{self.balancer.admin}/server_up", "--region", "US")
        self.backends["backend7"] = self.started(rig.Backend(self.directory, "backend7", 0, *register))
        self.seen("a seventh", "count(lb_backend_healthy) == 7")
        [name] = {b for b in self.balancer.replicas() if b not in BACKENDS}
        code, said = self.remove(name)
        assert code == 200, said
        self.seen("it gone", "count(lb_backend_healthy) == 6")

    def crowd(self):
        """More requests at once than all backends may be given, and more of what is scarce."""
        self.configure("adaptive", ceiling=12)
        with concurrent.futures.ThreadPoolExecutor(CROWD) as crowd:

            def waited():
                paths = ["/bench50"] * CROWD + ["/scarce"] * 3
                list(crowd.map(lambda path: rig.fetch(f"{self.balancer.traffic}{path}"), paths))
                return all(self.prometheus.value(f"sum(rate({counter}[10s]))", nothing=0) > 0 for counter in SCARCE)

            rig.until(waited, "somebody waited, and somebody was told to", WITHIN, EVERY)

    def remove(self, name, headers=()):
        body = json.dumps({"n": 1, "hostnames": [name]}).encode()
        return rig.fetch(urllib.request.Request(f"{self.balancer.admin}/rm", data=body, headers=dict(headers), method="DELETE"))
