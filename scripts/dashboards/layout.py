"""A dashboard as a whole: its variables, its links to the others, and its rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from .parts import RED, SOURCE, TAG, Panel

RUNBOOKS = "docs/runbooks"
"""Where runbooks are unless somebody says otherwise in the variable `runbooks`."""
_SCHEMA = 39
"""Of the JSON that Grafana 11 writes."""

Variable = Builder[dashboard.VariableModel]


def choice(name: str, label: str, expr: str, what: str) -> Variable:
    """A variable whose values are those of a label; several may be chosen, at first all are."""
    return (
        builders.QueryVariable(name)
        .label(label)
        .description(what)
        .datasource(SOURCE)
        .query(expr)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(dashboard.VariableOption(text="All", value="$__all"))
    )


def number(name: str, label: str, value: str, what: str) -> Variable:
    """A variable that is typed in."""
    option = dashboard.VariableOption(selected=True, text=value, value=value)
    return builders.TextBoxVariable(name).label(label).description(what).default_value(value).current(option)


def board(
    uid: str,
    title: str,
    what: str,
    rows: Mapping[str, Sequence[Panel]],
    *,
    variables: Sequence[Variable] = (),
    span: str = "now-3h",
) -> str:
    """One dashboard as JSON.

    Args:
        uid: by which others link to it.
        title: its own.
        what: whom it is for and what it answers.
        rows: panels under the title of their row; those under an empty title come first, without one.
        variables: those of its own, besides data source, job, worker and the place of the runbooks.
        span: what time it shows at first, until now.
    """
    made = (
        builders.Dashboard(title)
        .uid(uid)
        .description(what)
        .tags([TAG])
        .timezone("browser")
        .refresh("30s")
        .time(span, "now")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(
            builders.DashboardLink("scheduling")
            .type(dashboard.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .include_vars(True)
            .keep_time(True)
        )
        .annotation(
            builders.AnnotationQuery()
            .name("Pages")
            .datasource(SOURCE)
            .enable(True)
            .icon_color(RED)
            .expr('ALERTS{alertname=~"Scheduling.*",alertstate="firing",severity="page"}')
        )
        .with_variable(builders.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(
            choice("job", "Job", "label_values(scheduling_build_info, job)", "One installation each.")
        )
        .with_variable(
            choice(
                "instance",
                "Worker",
                'label_values(scheduling_build_info{job=~"$job"}, instance)',
                "Workers; what rules have added up is of all of them.",
            )
        )
    )
    for variable in variables:
        made = made.with_variable(variable)
    made = made.with_variable(
        number(
            "runbooks", "Runbooks", RUNBOOKS, "Address of the folder docs/runbooks, where your team reads it."
        )
    )
    for name, panels in rows.items():
        if name:
            made = made.with_row(builders.Row(name))
        for panel in panels:
            made = made.with_panel(panel)
    built = made.build()
    built.schema_version = _SCHEMA
    for place, one in enumerate(built.panels or [], start=1):
        one.id_val = place  # links to single panels hold over generations
    return json.dumps(built, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
