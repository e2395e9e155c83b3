"""docs/operations.md, the dashboard, the alerts: they speak of what `GET /metrics` really tells."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from app.config import Settings
from app.metrics.meters import METERS, Kind

DOCS = Path(__file__).parents[1] / "docs"
DASHBOARD = json.loads((DOCS / "grafana-dashboard.json").read_text())
RULES = yaml.safe_load((DOCS / "deploy" / "prometheus-rules.yml").read_text())["groups"][0]["rules"]
TEXT = (DOCS / "operations.md").read_text()
TARGETS = [target for panel in DASHBOARD["panels"] for target in panel["targets"]]
EXPRESSIONS = [each["expr"] for each in (*TARGETS, *RULES)]
LABEL = re.compile(r"(\w+)\s*(?:=|=~|!=|!~)\s*\"([^\"]*)\"")
OF_PROMETHEUS = {"job", "instance", "le"}


def exported():
    """Every name in the text that is scraped, and the labels of its meter."""
    for meter in METERS:
        suffixes = ("_bucket", "_sum", "_count") if meter.kind is Kind.HISTOGRAM else ("",)
        for suffix in suffixes:
            yield meter.name + suffix, set(meter.labels) | OF_PROMETHEUS


NAMES = dict(exported())


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_that_is_asked_for_is_told_with_those_labels(expression):
    asked = re.findall(r"(pressroom_\w+)(\{[^}]*\})?", expression)

    assert asked or "up{" in expression
    for name, labels in asked:
        assert {label for label, _ in LABEL.findall(labels)} <= NAMES[name]


def test_the_dashboard_shows_every_meter():
    shown = " ".join(target["expr"] for target in TARGETS)

    assert {meter.name for meter in METERS if meter.name not in shown} == set()


def test_panels_have_places_and_numbers_of_their_own():
    panels = DASHBOARD["panels"]

    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24


def test_prometheus_itself_can_read_every_expression(tmp_path):
    """As far as there is one: Debian's package `prometheus` brings promtool."""
    rules = [
        {"record": f"x:y:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, expression in enumerate(EXPRESSIONS)
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    for each in EXPRESSIONS:
        assert each.count("(") == each.count(")")
        assert each.count("{") == each.count("}")

    if promtool := shutil.which("promtool"):
        subprocess.run([promtool, "check", "rules", str(file)], check=True, timeout=30)


def test_every_alert_has_a_paragraph_and_every_metric_is_explained():
    for rule in RULES:
        assert f"**{rule['alert']}**" in TEXT
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
    for meter in METERS:
        assert f"`{meter.name}`" in TEXT


def test_every_setting_it_names_is_one():
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", TEXT))

    assert named - {name.upper() for name in Settings.model_fields} == set()


def test_prometheus_is_told_how_to_log_in():
    config = yaml.safe_load((DOCS / "deploy" / "prometheus.yml").read_text())

    (scrape,) = config["scrape_configs"]
    assert scrape["authorization"]["type"] == "Bearer"
    assert config["rule_files"] == ["pressroom-rules.yml"]
