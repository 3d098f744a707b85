"""The dashboards as Grafana's own types read them: what these do not know is dropped, so nothing may be missing after.

Grafana cannot be had from the package registries; its foundation SDK can. It is no rendering, but it finds a misspelt
option, and one that a kind of panel does not have.
"""

import json
import unittest

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

import rig

DASHBOARDS = rig.ROOT / "grafana" / "dashboards"
# What the SDK's dashboard leaves out: nulls, a definition that the query repeats, what Prometheus adds to annotations.
UNTYPED = {
    "id",
    "templating.list.definition",
    *(f"annotations.list.{key}" for key in ("step", "tagKeys", "textFormat", "titleFormat", "useValueForTime")),
}


def lost(before, after, path=""):
    """Paths of `before` that `after` lacks or has otherwise."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            inner = f"{path}.{key}" if path else key
            if key in after:
                yield from lost(value, after[key], inner)
            elif inner not in UNTYPED:
                yield f"{inner} is not known"
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for left, right in zip(before, after):
            yield from lost(left, right, path)
    elif before != after:
        yield f"{path} is {before!r}, read as {after!r}"


def read(dashboard):
    return json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))


class Dashboards(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        register_default_plugins()
        cls.all = {path.name: json.loads(path.read_text()) for path in DASHBOARDS.glob("*.json")}

    def test_grafanas_types_know_everything_in_them(self):
        self.assertEqual(len(self.all), 6)
        for name, dashboard in self.all.items():
            with self.subTest(name):
                self.assertEqual(sorted(set(lost(dashboard, read(dashboard)))), [])

    def test_a_misspelt_option_is_found(self):
        dashboard = json.loads((DASHBOARDS / "locust.json").read_text())
        panel = next(panel for panel in dashboard["panels"] if panel["type"] == "stat")
        panel["options"]["colourMode"] = panel["options"].pop("colorMode")
        self.assertIn("panels.options.colourMode is not known", list(lost(dashboard, read(dashboard))))


if __name__ == "__main__":
    unittest.main()
