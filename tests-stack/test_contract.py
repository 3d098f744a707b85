"""Rules and dashboards against what is exposed, without starting anything: every name and label they rest on exists, and
everything in the balancer's catalogue is shown or judged somewhere."""

import unittest

import catalogue
import promql
import written
import yaml


class Contract(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = catalogue.world()
        recorded = [rule for _, _, rule in written.rules() if "record" in rule]
        for rule in recorded:
            cls.world[rule["record"]] = promql.Query(rule["expr"], cls.world).labels

    def check(self, expressions):
        """Each of `(place, text)` is sound; returns the names they use."""
        names, faults = set(), []
        for place, text in expressions:
            try:
                query = promql.Query(text, self.world)
            except ValueError as error:
                faults.append(f"{place}: {error}\n  {text}")
                continue
            names |= query.names
            faults += [f"{place}: {fault}\n  {text}" for fault in query.faults]
        self.assertFalse(faults, "\n" + "\n".join(faults))
        return names

    def of_rules(self):
        return [(rule.get("alert") or rule["record"], rule["expr"]) for _, _, rule in written.rules()]

    def of_dashboards(self):
        return [(place, text) for place, text, _ in written.targets()] + list(written.annotations())

    def test_rules_rest_on_what_is_exposed(self):
        self.assertTrue(self.check(self.of_rules()))

    def test_panels_rest_on_what_is_exposed(self):
        self.assertEqual(len(written.DASHBOARDS), 6)
        self.assertTrue(self.check(self.of_dashboards()))

    def test_variables_ask_for_what_is_exposed(self):
        found = list(written.variables())
        self.assertTrue(found)
        for place, metric, label in found:
            if metric:
                query = promql.Query(metric, self.world)
                self.assertFalse(query.faults, place)
                self.assertIn(label, query.labels or {label}, place)
            else:
                self.assertIn(label, catalogue.TARGET, place)

    def test_everything_the_balancer_exposes_is_used(self):
        families = catalogue.balancer()
        used = {catalogue.family(name, families) for name in self.check(self.of_rules() + self.of_dashboards())}
        self.assertEqual(sorted(families.keys() - used), [], "neither a panel nor a rule shows these")

    def test_compose_leaves_on_what_cadvisor_is_asked_for(self):
        flags = yaml.safe_load((written.ROOT / "docker-compose.yml").read_text())["services"]["cadvisor"]["command"]
        [off] = [flag.partition("=")[2].split(",") for flag in flags if flag.startswith("--disable_metrics=")]
        self.assertEqual(set(off) - catalogue.CADVISOR_GROUPS, set(), "cAdvisor knows no such groups")
        self.assertTrue(catalogue.cadvisor_groups())
        self.assertEqual(catalogue.cadvisor_groups() - catalogue.CADVISOR_GROUPS, set())
        self.assertEqual(catalogue.cadvisor_groups() & set(off), set(), "these are in cadvisor.txt, and turned off")
        [kept] = [flag.partition("=")[2].split(",") for flag in flags if flag.startswith("--whitelisted_container_labels=")]
        labels = {"container_label_" + label.replace(".", "_") for label in kept}
        self.assertEqual({label for label in catalogue.CONTAINER if label.startswith("container_label_")}, labels)

    def test_recorded_series_are_named_by_level_metric_and_operations(self):
        for _, _, rule in written.rules():
            if "record" in rule:
                self.assertRegex(rule["record"], r"^(lb|algorithm):\w+:[a-z0-9_]+$")
                level = rule["record"].partition(":")[0]
                self.assertEqual(self.world[rule["record"]], {"algorithm"} if level == "algorithm" else set(), rule)


class Faults(unittest.TestCase):
    """That the check bites: what Prometheus would answer with nothing, it refuses."""

    WORLD = {
        "requests_total": {"job", "instance", "pool", "code"},
        "limit": {"job", "instance", "pool"},
        "time_bucket": {"job", "instance", "pool", "le"},
    }

    def test_each_is_found(self):
        for text, fault in (
            ("rate(request_total[1m])", "nothing exposes request_total"),
            ('requests_total{status="200"}', "requests_total has no label status"),
            ("sum by (backend) (requests_total)", "has no label backend"),
            ("requests_total / limit", "can never match, one lacks code"),
            ("sum by (pool) (requests_total) / on (backend) limit", "has no label backend"),
            ("histogram_quantile(0.9, sum by (pool) (rate(time_bucket[1m])))", "without le"),
            ("sum by (pool) (sum(requests_total))", "has no label pool"),
            ("requests_total / on (pool) group_left (region) sum by (pool) (limit)", "has no label region"),
            ("sum by (pool) (limit) * on (pool) group_right (region) requests_total", "has no label region"),
            ('vector(0) / on (pool) limit', "has no label pool"),
        ):
            with self.subTest(text):
                [found] = promql.Query(text, self.WORLD).faults[:1] or [""]
                self.assertIn(fault, found)

    def test_what_is_sound_passes(self):
        for text in (
            'sum by (pool) (rate(requests_total{code=~"5.."}[1m])) / on (pool) group_left () sum by (pool) (limit)',
            "(sum(rate(requests_total[1m])) or vector(0)) / (sum(limit) > 0)",
            "histogram_quantile(0.9, sum by (pool, le) (rate(time_bucket[1m]))) > 0.1",
            'sum by (class) (label_replace(requests_total, "class", "${1}xx", "code", "(.).."))',
            "requests_total / ignoring (code) group_left limit and requests_total > 3",
            "rate(node_cpu_seconds_total[1m])",
        ):
            with self.subTest(text):
                self.assertEqual(promql.Query(text, self.WORLD).faults, [])

    def test_what_a_guard_stands_for_is_found(self):
        text = "1 - (sum(rate(a[1m])) or vector(0)) / (sum(rate(b[1m])) > 0) or vector(1)"
        whole, inner = promql.guarded(text)
        self.assertEqual((inner.replace("{}", ""), whole.startswith("1 - (")), ("sum(rate(a[1m]))", True))
        self.assertEqual(promql.guarded("a and b"), [])


if __name__ == "__main__":
    unittest.main()
