"""The rules by promtool, and what promtool does not ask: that every alert has a case that fires, one that is quiet, and a
paragraph that says what to do."""

import re
import subprocess
import unittest

import written

WITHIN = 120
RUNBOOK = "docs/RUNBOOK.md"


def promtool(*arguments):
    argv = ["promtool", *map(str, arguments)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=WITHIN, check=False)
    return done.returncode, done.stdout + done.stderr


class Promtool(unittest.TestCase):
    def succeeds(self, *arguments):
        code, said = promtool(*arguments)
        self.assertEqual(code, 0, said)
        return said

    def test_the_configuration_is_valid_and_finds_the_rules(self):
        said = self.succeeds("check", "config", written.MONITORING / "prometheus.yml")
        self.assertIn(f"{len(written.RULES)} rule files found", said)

    def test_the_rules_are_valid(self):
        self.succeeds("check", "rules", "--lint=all", "--lint-fatal", *written.RULES)

    def test_the_cases_pass(self):
        self.assertTrue(written.CASES)
        self.succeeds("test", "rules", *written.CASES)


class Alerts(unittest.TestCase):
    def setUp(self):
        self.alerts = written.alerts()

    def test_each_has_a_case_that_fires_and_one_that_must_not(self):
        fired, quiet = set(), set()
        for file, case in written.cases():
            for check in case.get("alert_rule_test", []):
                self.assertIn(check["alertname"], self.alerts, file)
                (fired if check["exp_alerts"] else quiet).add(check["alertname"])
        self.assertEqual(sorted(self.alerts.keys() - fired), [], "nothing makes these fire")
        self.assertEqual(sorted(self.alerts.keys() - quiet), [], "nothing shows these quiet")

    def test_each_recorded_series_has_a_case_with_and_one_without_a_value(self):
        samples = {}
        for _, case in written.cases():
            for check in case.get("promql_expr_test", []):
                for name in re.findall(r"\w+:\w+:\w+", check["expr"]):
                    samples.setdefault(name, set()).add(bool(check["exp_samples"]))
        recorded = {rule["record"] for _, _, rule in written.rules() if "record" in rule}
        # A rate of no traffic is 0.
        missing = [name for name in recorded if samples.get(name) != {True, False} and name != "lb:requests:rate5m"]
        self.assertEqual(sorted(missing), [])

    def test_each_says_what_it_is_and_what_to_do(self):
        for name, rule in self.alerts.items():
            with self.subTest(name):
                self.assertIn(rule["labels"]["severity"], ("page", "ticket"))
                self.assertEqual(set(rule["annotations"]), {"summary", "description", "runbook"})
                self.assertEqual(rule["annotations"]["runbook"], f"{RUNBOOK}#{name.lower()}")

    def test_the_runbook_has_a_paragraph_for_each_and_no_other(self):
        text = (written.ROOT / RUNBOOK).read_text()
        paragraphs = re.findall(r"^### (\w+)\n\n(\S.+)$", text, re.MULTILINE)
        self.assertEqual([name for name, _ in paragraphs], [name for name in dict.fromkeys(n for n, _ in paragraphs)])
        self.assertEqual(sorted(name for name, _ in paragraphs), sorted(self.alerts))
        self.assertEqual(len(re.findall(r"^### ", text, re.MULTILINE)), len(paragraphs))


if __name__ == "__main__":
    unittest.main()
