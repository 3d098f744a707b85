"""The stack with real programs: what Prometheus scraped, judged and passed on, and whether every panel has something to show."""

import math
import re
import sys
import time
import unittest

import catalogue
import exposition
import promql
import rig
import written
from run import logs
from test_locust import checked
from world import BACKENDS, EVERY, World

# $__rate_interval is four scrapes and more; $__range the time since the start.
DURATIONS = {"__rate_interval": "10s", "__interval": "1s", "__interval_ms": "1000"}
# For a query that shows what ended last: two more scrapes must come in.
DATA_WITHIN = 30
STEP = 2
BY_ERROR = "sum by (error) (locust_errors_total)"
OUR_DOING = re.compile(r"500 made to fail by /fault$|50[24] Backend ")
# Of the requests: two backends of six are gone for seconds, and all their requests find another.
MOST_FAILURES = 0.03
# What only cAdvisor has; it cannot be had here, so test_contract.py holds these against its documentation.
NOT_HERE = re.compile(r"\b(container|machine)_\w+")

# Selectors of alerts that match nothing here, each with the reason.
NOT_YET = {}


class Stack(unittest.TestCase):
    """One world for all tests: it takes half a minute to live through everything."""

    @classmethod
    def setUpClass(cls):
        directory = rig.directory(cls.__qualname__.lower())

        def started(process):
            cls.addClassCleanup(process.stop)
            return process

        try:
            cls.world = World(directory, started)
            cls.world.live_through_everything()
        except BaseException:
            print(logs(directory.name), file=sys.stderr)
            raise

    def setUp(self):
        self.prometheus = self.world.prometheus
        self.maxDiff = None

    # ---- What comes in

    def test_every_target_is_up(self):
        bad = lambda: [(t["scrapeUrl"], t["lastError"]) for t in self.prometheus.targets() if t["health"] != "up"]  # noqa: E731
        # One scrape of a second may time out on a busy machine.
        rig.until(lambda: not bad(), "every target up", DATA_WITHIN, EVERY)
        targets = self.prometheus.targets()
        jobs = {t["labels"]["job"] for t in targets}
        self.assertEqual(jobs, {"load-balancer", "backends", "node_exporter", "locust", "prometheus"})
        self.assertEqual(len(targets), 4 + len(BACKENDS))

    def test_no_scrape_was_refused(self):
        for name in ("exceeded_sample_limit", "sample_duplicate_timestamp", "sample_out_of_order", "sample_out_of_bounds"):
            self.assertEqual(self.prometheus.value(f"prometheus_target_scrapes_{name}_total"), 0, name)

    def test_promtool_has_nothing_to_say(self):
        pages = [self.world.balancer.admin, *(f"http://{b.address}" for n, b in self.world.backends.items() if n in BACKENDS)]
        for url in [*(f"{page}/metrics" for page in pages), self.world.locust_metrics]:
            with self.subTest(url):
                code, text = rig.get(url)
                self.assertEqual(code, 200)
                self.assertTrue(checked(text).samples)

    def test_programs_expose_what_the_contract_check_believes(self):
        """Names, types and labels, both ways: queries are checked against these without starting anything."""
        backend = f"http://{self.world.backends['backend1'].address}/metrics"
        for url, prefix, families in (
            (backend, "backend_", catalogue.BACKEND),
            (self.world.locust_metrics, "locust_", catalogue.LOCUST),
            (f"{self.world.balancer.admin}/metrics", "lb_", catalogue.balancer()),
        ):
            with self.subTest(url):
                text = rig.get(url)[1]
                self.assertEqual(types(text, prefix), {name: kind for name, (kind, _) in families.items()})
                known = catalogue.series(families)
                for name, labels, _ in exposition.parse(text).samples:
                    if name.startswith(prefix):
                        self.assertEqual(set(labels), known[name] - catalogue.TARGET, name)

    def test_clients_saw_no_failures_but_those_we_made(self):
        """A backend made to fail is not retried; with a whole region gone a retry may meet the other dead one."""
        found = {s["metric"]["error"]: float(s["value"][1]) for s in self.prometheus.api("query", query=BY_ERROR)["result"]}
        self.assertEqual([error for error in found if not OUR_DOING.match(error)], [])
        self.assertLess(sum(found.values()), MOST_FAILURES * self.prometheus.value("sum(locust_requests_total)"), found)

    def test_spans_and_lines_arrive_as_they_are_counted(self):
        """The counters are asked first: meanwhile more may come."""
        exported = self.prometheus.value('lb_trace_spans_total{result="exported"}')
        written_lines = self.prometheus.value('lb_access_log_lines_total{result="written"}')
        self.assertGreater(exported, 0)
        self.assertGreater(written_lines, 0)
        self.assertGreaterEqual(len(self.world.spans.spans), exported)
        log = self.world.directory / "access.log"
        rig.until(lambda: len(log.read_bytes().splitlines()) >= written_lines, "the lines counted", DATA_WITHIN, EVERY)
        lost = 'sum(lb_trace_spans_total{result!="exported"}) + sum(lb_access_log_lines_total{result="dropped"})'
        self.assertEqual(self.prometheus.value(lost), 0)

    # ---- What is made of it

    def test_every_rule_is_evaluated(self):
        rules = self.prometheus.rules()
        self.assertEqual(len(rules), len(list(written.rules())))
        self.assertEqual([(r["name"], r["lastError"]) for r in rules if r["health"] != "ok"], [])
        self.assertEqual(self.prometheus.value("prometheus_rule_evaluation_failures_total"), 0)

    def test_every_recorded_series_has_values(self):
        for _, _, rule in written.rules():
            if "record" in rule:
                self.has_data(rule["record"], rule["record"])

    def test_the_spill_over_is_on_its_way_to_an_alert(self):
        fired = self.prometheus.api("query_range", query='ALERTS{alertname="LBRegionUnavailable"}', **self.window())["result"]
        self.assertEqual({series["metric"]["client_region"] for series in fired}, {"EU"})

    def test_every_panel_has_data(self):
        queries = list(written.targets(self.durations()))
        self.assertTrue(queries)
        self.each_has_data((place, text) for place, text, _ in queries if not NOT_HERE.search(text))

    def test_no_guard_hides_that_nothing_is_there(self):
        """`or vector(0)` answers for what never happened; here everything has."""
        queries = [(place, text) for place, text, _ in written.targets(self.durations()) if not NOT_HERE.search(text)]
        guarded = [(place, part) for place, text in queries for part in promql.guarded(text)]
        self.assertGreater(len(guarded), 10)
        self.each_has_data(guarded)

    def test_every_table_and_number_has_data_now(self):
        """Queries that ask for one moment, at the end of the time shown."""
        queries = [(place, text) for place, text, target in written.targets(self.durations()) if target.get("instant")]
        self.assertTrue(queries)
        self.each_has_data([q for q in queries if not NOT_HERE.search(q[1])], self.finite_now)

    def test_every_annotation_marks_something(self):
        found = list(written.annotations(self.durations()))
        self.assertTrue(found)
        self.each_has_data(found)

    def test_every_variable_has_values(self):
        for place, metric, label in written.variables():
            if not NOT_HERE.search(metric or ""):
                fields = {"match[]": metric} if metric else {}
                self.assertTrue(self.prometheus.api(f"label/{label}/values", **fields), place)

    def test_every_alert_rests_on_series_that_are_there(self):
        """An alert on what nobody exposes never fires: each of its selectors matches something, but for those with a reason."""
        silent = {}
        for name, rule in written.alerts().items():
            for selector in promql.selectors(rule["expr"]):
                if not NOT_HERE.search(selector) and selector not in NOT_YET:
                    silent[f"{name}: {selector}"] = selector

        def all_match():
            for place, selector in list(silent.items()):
                if self.matches(selector):
                    del silent[place]
            return not silent

        try:
            rig.until(all_match, "every selector of every alert matches", DATA_WITHIN, EVERY)
        except AssertionError:
            self.fail("no series matches:\n" + "\n".join(silent))

    def test_what_is_excepted_there_is_used_by_an_alert(self):
        used = {selector for rule in written.alerts().values() for selector in promql.selectors(rule["expr"])}
        self.assertEqual(NOT_YET.keys() - used, set())

    # ---- What is passed on

    def test_influxdb_has_its_database_and_retention(self):
        self.assertIn({"name": "prometheus"}, self.world.influx.query("SHOW DATABASES"))
        [policy] = [p for p in self.world.influx.query('SHOW RETENTION POLICIES ON "prometheus"') if p["default"]]
        self.assertEqual((policy["name"], policy["duration"]), ("autogen", "168h0m0s"))

    def test_influxdb_answers_with_our_series(self):
        influx = self.world.influx
        statement = 'SELECT last("value") AS "value" FROM "lb_requests_total" WHERE "code" = \'200\' GROUP BY "algorithm"'
        counted = {}

        def caught_up():
            """As many requests by each algorithm as Prometheus had when asked before, or more."""
            counted.update({row["algorithm"]: row["value"] for row in influx.query(statement)})
            return all(counted.get(algorithm, 0) >= count > 0 for algorithm, count in scraped.items())

        series = self.prometheus.api("query", query='sum by (algorithm) (lb_requests_total{code="200",method="GET"})')["result"]
        scraped = {s["metric"]["algorithm"]: float(s["value"][1]) for s in series if float(s["value"][1]) > 0}
        self.assertEqual(len(scraped), 10)
        rig.until(caught_up, f"InfluxDB has {scraped}, not {counted}", DATA_WITHIN, EVERY)

    def test_influxdb_got_what_we_keep_and_nothing_else(self):
        names = [row["name"] for row in self.world.influx.query("SHOW MEASUREMENTS")]
        prefixes = {re.split(r"[_:]", name)[0] for name in names}
        self.assertEqual(prefixes, {"lb", "locust", "node", "backend"})
        # All but those that have no number to store yet.
        missing = {name for name, (kind, _) in catalogue.balancer().items() if kind != "histogram"} - set(names)
        empty = {name for name in missing if not self.finite(name)}
        self.assertEqual(missing - empty, set())

    def test_nothing_was_lost_on_the_way(self):
        self.assertEqual(self.prometheus.value("prometheus_remote_storage_samples_failed_total"), 0)
        behind = "time() - prometheus_remote_storage_queue_highest_sent_timestamp_seconds"
        rig.until(lambda: self.prometheus.value(behind) < DATA_WITHIN, "remote write keeps up", DATA_WITHIN, EVERY)

    # ---- How it is asked

    def window(self):
        return {"start": self.world.began, "end": time.time(), "step": STEP}

    def durations(self):
        seconds = math.ceil(time.time() - self.world.began)
        return DURATIONS | {"__range": f"{seconds}s", "__range_s": str(seconds), "__range_ms": str(seconds * 1000)}

    def finite(self, query):
        """Whether there is any number in the answer; NaN and infinity are none."""
        result = self.prometheus.api("query_range", query=query, **self.window())["result"]
        return any(math.isfinite(float(value)) for series in result for _, value in series["values"])

    def matches(self, selector):
        window = {key: value for key, value in self.window().items() if key != "step"}
        return bool(self.prometheus.api("series", **{"match[]": selector}, **window))

    def finite_now(self, query):
        return any(math.isfinite(float(series["value"][1])) for series in self.prometheus.api("query", query=query)["result"])

    def has_data(self, place, query):
        rig.until(lambda: self.finite(query), f"data of {place}: {query}", DATA_WITHIN, EVERY)

    def each_has_data(self, queries, finite=None):
        """All of them are asked until each has answered with data; those that never do are told together."""
        left = list(queries)

        def answered():
            left[:] = [(place, query) for place, query in left if not (finite or self.finite)(query)]
            return not left

        try:
            rig.until(answered, "data of every query", DATA_WITHIN, EVERY)
        except AssertionError:
            self.fail(f"{len(left)} without data:\n" + "\n".join(f"{place}\n  {query}" for place, query in left))


def types(text, prefix):
    """Families of an exposition whose names begin with `prefix`, with their types."""
    found = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    return {name: kind for name, kind in found.items() if name.startswith(prefix)}


if __name__ == "__main__":
    unittest.main()
