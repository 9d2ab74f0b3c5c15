"""What is in docker/monitoring, loaded by the programs that it is for, where they are installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.monitoring.test_metrics import documented

FOLDER = Path(__file__).resolve().parents[2] / "docker" / "monitoring"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "monitoring.md"
PROMTOOL = shutil.which("promtool")
OF_THE_PROCESS = {"process_cpu_seconds_total", "process_open_fds", "process_max_fds"}
SUFFIXES = ("", "_bucket", "_sum", "_count")

needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed (Debian: apt install prometheus)"
)


def promtool(*arguments, folder=FOLDER):
    return subprocess.run(
        [str(PROMTOOL), *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def dashboard():
    return json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))


def expressions():
    """Of all panels, without Grafana's variables."""
    found = [target["expr"] for panel in dashboard()["panels"]
             for target in panel.get("targets", ())]  # fmt: skip
    return [each.replace("$__rate_interval", "5m").replace("$instance", ".*") for each in found]


def unknown_metrics(text):
    exported = {name + suffix for name in documented() for suffix in SUFFIXES} | OF_THE_PROCESS
    return set(re.findall(r"\b(?:euclidesdb|process)_\w+", text)) - exported


@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
    ],
    ids=" ".join,
)
def test_prometheus_takes_the_files_and_the_alerts_fire(arguments):
    outcome = promtool(*arguments)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@needs_promtool
def test_every_expression_of_the_dashboard_can_be_parsed(tmp_path):
    rules = [{"record": f"panel:{n}", "expr": each} for n, each in enumerate(expressions())]
    assert len(rules) > 30
    text = json.dumps({"groups": [{"name": "panels", "rules": rules}]})  # JSON is YAML
    (tmp_path / "panels.yml").write_text(text)
    outcome = promtool("check", "rules", "panels.yml", folder=tmp_path)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_alerts_and_panels_use_only_metrics_that_exist():
    assert not unknown_metrics((FOLDER / "alerts.yml").read_text(encoding="utf-8"))
    assert not unknown_metrics("\n".join(expressions()))


def test_every_metric_is_on_the_dashboard_or_in_an_alert():
    shown = "\n".join([*expressions(), (FOLDER / "alerts.yml").read_text(encoding="utf-8")])
    indirectly = {"euclidesdb_info", "euclidesdb_model_building", "euclidesdb_model_indexed_rows",
                  "euclidesdb_builds_total"}  # fmt: skip
    assert {name for name in documented() if name not in shown} <= indirectly


def test_every_alert_is_documented():
    alerts = re.findall(r"alert: (\w+)", (FOLDER / "alerts.yml").read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    assert len(alerts) > 10
    assert [name for name in alerts if f"| `{name}`" not in page] == []


def test_the_dashboard_is_one_of_grafana():
    plugins = pytest.importorskip("grafana_foundation_sdk.cog.plugins")
    models = pytest.importorskip("grafana_foundation_sdk.models.dashboard")
    plugins.register_default_plugins()
    parsed = models.Dashboard.from_json(dashboard())
    assert len(parsed.panels) == len(dashboard()["panels"])
    assert {each.name for each in parsed.templating.list_val} == {"datasource", "instance"}


def test_the_panels_lie_side_by_side_and_each_has_its_number():
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (column, row)
        for place in (panel["gridPos"] for panel in panels)
        for column in range(place["x"], place["x"] + place["w"])
        for row in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len({*cells}), "panels cover one another"
    assert max(column for column, _ in cells) < 24
