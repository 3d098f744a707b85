"""What we have written: the expressions of rules and dashboards, each with the place it stands at."""

import json
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
MONITORING = ROOT / "monitoring"
RULES = sorted((MONITORING / "rules").glob("*.yml"))
CASES = sorted((MONITORING / "tests").glob("*.yml"))
DASHBOARDS = sorted((ROOT / "grafana" / "dashboards").glob("*.json"))
VARIABLE = re.compile(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)")
# As Grafana would fill them in; the sets of durations differ between reading a query and running it.
READING = {"__rate_interval": "1m", "__interval": "15s", "__interval_ms": "15000", "__range": "15m", "__range_s": "900"}


def rules():
    """Every rule with its file and group."""
    for file in RULES:
        for group in yaml.safe_load(file.read_text())["groups"]:
            for rule in group["rules"]:
                yield file.name, group["name"], rule


def alerts():
    """Alert rules by name."""
    return {rule["alert"]: rule for _, _, rule in rules() if "alert" in rule}


def cases():
    """Every case of the rules' tests, with its file."""
    for file in CASES:
        for case in yaml.safe_load(file.read_text())["tests"]:
            yield file.name, case


def dashboards():
    return [json.loads(file.read_text()) for file in DASHBOARDS]


def panels(dashboard):
    """Panels, those in collapsed rows as well."""
    for panel in dashboard.get("panels", []):
        yield panel
        yield from panel.get("panels", [])


def filled(text, dashboard, durations):
    """`text` with Grafana's macros and the dashboard's variables, all of each, put in."""
    values = {variable["name"]: ".+" for variable in dashboard.get("templating", {}).get("list", [])} | durations

    def value(match):
        name = match[1] or match[2]
        # "${1}" belongs to label_replace.
        return match[0] if name.isdigit() else values[name]

    return VARIABLE.sub(value, text)


def targets(durations=None):
    """`(place, query, target)` of every query of every panel."""
    durations = durations or READING
    for dashboard in dashboards():
        for panel in panels(dashboard):
            for target in panel.get("targets", []):
                place = f"{dashboard['uid']}: {panel['title']} ({target['refId']})"
                yield place, filled(target["expr"], dashboard, durations), target


def annotations(durations=None):
    """`(place, query)` of every annotation that Prometheus is asked for."""
    durations = durations or READING
    for dashboard in dashboards():
        for annotation in dashboard.get("annotations", {}).get("list", []):
            if annotation.get("expr"):
                place = f"{dashboard['uid']}: annotation {annotation['name']}"
                yield place, filled(annotation["expr"], dashboard, durations)


def variables():
    """`(place, metric or None, label)` of every variable that asks for a label's values."""
    for dashboard in dashboards():
        for variable in dashboard.get("templating", {}).get("list", []):
            query = variable.get("query")
            text = query.get("query", "") if isinstance(query, dict) else str(query)
            match = re.fullmatch(r"label_values\((?:(.*),\s*)?(\w+)\)", text)
            if variable["type"] == "query":
                assert match, f"{dashboard['uid']}: variable {variable['name']}: {text}"
                metric = match[1] and filled(match[1], dashboard, READING)
                yield f"{dashboard['uid']}: variable {variable['name']}", metric, match[2]
