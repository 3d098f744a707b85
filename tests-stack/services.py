"""The programs around the balancer, on free ports of 127.0.0.1: InfluxDB and Prometheus, each with a directory of its own."""

import json
import urllib.parse

import rig
import written
import yaml

# Every rate needs two scrapes: with one a second, a query over seconds sees what took minutes to see at 15 s.
INTERVAL = "1s"


def ask(url, **fields):
    """The JSON answer to a GET."""
    code, text = rig.get(f"{url}?{urllib.parse.urlencode(fields, doseq=True)}")
    assert code == 200, f"{url} {fields}: {code} {text}"
    return json.loads(text)


class Influx(rig.Process):
    """Debian's InfluxDB 1.6. As in the containers, its database and retention are there before the first write."""

    CONFIG = """\
reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
dir = "{0}/meta"
[data]
dir = "{0}/data"
wal-dir = "{0}/wal"
index-version = "tsi1"
[monitor]
store-enabled = false
[http]
bind-address = "127.0.0.1:0"
log-enabled = false
"""

    def __init__(self, directory):
        config = directory / "influxdb.toml"
        config.write_text(self.CONFIG.format(directory / "influxdb"))
        super().__init__(directory / "influxdb", "influxd", "run", "-config", config)
        address = self.said(r"Listening on HTTP.* addr=(\S+)", self.err)[1]
        self.url = f"http://{address}"
        self.change('CREATE DATABASE "prometheus"')
        self.change('ALTER RETENTION POLICY "autogen" ON "prometheus" DURATION 7d REPLICATION 1 SHARD DURATION 1d DEFAULT')

    def change(self, statement):
        rig.post(f"{self.url}/query?{urllib.parse.urlencode({'q': statement})}", b"")

    def query(self, statement):
        """The rows of a statement's series, as dicts, tags included."""
        answer = ask(f"{self.url}/query", db="prometheus", q=statement)
        [result] = answer["results"]
        assert "error" not in result, f"{statement}: {result}"
        return [
            dict(zip(series["columns"], row)) | series.get("tags", {})
            for series in result.get("series", [])
            for row in series["values"]
        ]


class Prometheus(rig.Process):
    """Debian's Prometheus with our configuration: only addresses and intervals are others, and every rule is in force."""

    def __init__(self, directory, addresses, influx):
        self.address = f"127.0.0.1:{rig.free_port()}"
        self.url = f"http://{self.address}"
        config = directory / "prometheus.yml"
        config.write_text(yaml.safe_dump(rewritten(addresses | {"localhost:9090": self.address}, influx)))
        super().__init__(
            directory / "prometheus", "prometheus", f"--config.file={config}", f"--web.listen-address={self.address}",
            f"--storage.tsdb.path={directory / 'prometheus-data'}", "--storage.tsdb.retention.time=1d",
        )
        self.said(r"Server is ready to receive web requests", self.err)

    def api(self, path, **fields):
        """`data` of an answer; a warning of PromQL is a failure."""
        answer = ask(f"{self.url}/api/v1/{path}", **fields)
        assert answer["status"] == "success" and not answer.get("warnings"), f"{path} {fields}: {answer}"
        return answer["data"]

    def value(self, query, nothing=None):
        """The sum over what an instant query returns; an empty answer is a failure, or `nothing` where that is given."""
        result = self.api("query", query=query)["result"]
        assert result or nothing is not None, f"no series answers {query}"
        return sum(float(series["value"][1]) for series in result) if result else nothing

    def targets(self):
        return self.api("targets", state="active")["activeTargets"]

    def rules(self):
        return [rule for group in self.api("rules")["groups"] for rule in group["rules"]]


def rewritten(addresses, influx):
    """monitoring/prometheus.yml with `addresses` for the containers' and short intervals; jobs without any are left out."""
    config = yaml.safe_load((written.MONITORING / "prometheus.yml").read_text())
    config["global"] |= {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL, "evaluation_interval": INTERVAL}
    config["rule_files"] = [str(written.MONITORING / pattern) for pattern in config["rule_files"]]
    for job in config["scrape_configs"]:
        job.pop("scrape_interval", None)
        job.pop("scrape_timeout", None)
        for targets in job["static_configs"]:
            targets["targets"] = [addresses[name] for name in targets["targets"] if name in addresses]
    config["scrape_configs"] = [job for job in config["scrape_configs"] if job["static_configs"][0]["targets"]]
    [remote] = config["remote_write"]
    assert remote["url"].startswith("http://influxdb:8086/"), remote
    remote["url"] = remote["url"].replace("http://influxdb:8086", influx.url)
    return config
