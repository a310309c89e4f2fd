"""What the dashboards are made of: queries, panels, variables and links, all in one style.

Every panel has a description that says what is good and, where an alert watches the same, a link to its runbook.
In queries ``{@}`` stands for the labels that the variables of the dashboard choose; see `query`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus as prometheus_builders
from grafana_foundation_sdk.builders import stat as stat_builders
from grafana_foundation_sdk.builders import statetimeline as timeline_builders
from grafana_foundation_sdk.builders import table as table_builders
from grafana_foundation_sdk.builders import text as text_builders
from grafana_foundation_sdk.builders import timeseries as series_builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.text import TextMode

Panel = Builder[dashboard.Panel]
Query = prometheus_builders.Dataquery
Framed = TypeVar("Framed")
Steps = Sequence[tuple[float, str]]
"""From which value on a panel has which colour, in ascending order."""
States = Mapping[int, tuple[str, str]]
"""What a value is called, and its colour."""

SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
GREEN, YELLOW, ORANGE, RED, BLUE = "green", "yellow", "orange", "red", "blue"
OK_OR_NOT: States = {0: ("no", RED), 1: ("yes", GREEN)}
JUDGED: States = {
    0: ("UNKNOWN", BLUE),
    1: ("OK", GREEN),
    2: ("SLOW", ORANGE),
    3: ("STALLED", RED),
    4: ("STOPPED", RED),
}
"""What `scheduling:shard_state:code` means."""

TAG = "scheduling"
_CHOSEN = {
    "{@}": '{job=~"$job",instance=~"$instance"}',
    "{@job}": '{job=~"$job"}',
    "{@shard}": '{job=~"$job",instance=~"$instance",shard=~"$shard"}',
    "{@job,shard}": '{job=~"$job",shard=~"$shard"}',
    "{@plugin}": '{job=~"$job",instance=~"$instance",plugin=~"$plugin"}',
}


def query(expr: str, legend: str = "", *, instant: bool = False, name: str = "A") -> Query:
    """One query.

    Args:
        expr: PromQL. ``{@}`` is replaced by the labels that the variables choose: job and instance. ``{@job}`` is for
            what recording rules make, which has no instance; ``{@shard}``, ``{@job,shard}`` and ``{@plugin}`` likewise.
            ``@,`` inside of braces is for further labels: ``{@,process="jvm"}``.
        legend: what each series is called, as ``{{shard}}``.
        instant: only the newest value, as a table.
        name: tells the queries of one panel apart.
    """
    for short, chosen in _CHOSEN.items():
        expr = expr.replace(short, chosen)
    expr = expr.replace("{@,", _CHOSEN["{@}"].removesuffix("}") + ",")
    made = Query().expr(expr).ref_id(name).datasource(SOURCE)
    if instant:
        return made.instant().format(PromQueryFormat.TABLE)
    return made.range().legend_format(legend or "__auto")


def described(what: str, good: str, runbooks: Sequence[str]) -> str:
    """A panel's description."""
    where = "".join(f" Runbook: docs/runbooks/{name}.md." for name in runbooks)
    return f"{what} Good: {good}{where}"


def runbook_links(runbooks: Sequence[str]) -> list[Builder[dashboard.DashboardLink]]:
    """Links to runbooks, under the address that the variable `runbooks` names."""
    return [
        builders.DashboardLink(f"Runbook {name}")
        .type(dashboard.DashboardLinkType.LINK)
        .url(f"${{runbooks}}/{name}.md")
        .target_blank(True)
        for name in runbooks
    ]


def thresholds(steps: Steps, below: str = GREEN) -> builders.ThresholdsConfig:
    """Colours by value, and one below the first."""
    made = [dashboard.Threshold(None, below), *(dashboard.Threshold(value, color) for value, color in steps)]
    return builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(made)


def named(states: States) -> list[dashboard.ValueMapping]:
    """Values that are shown as words."""
    options = {
        str(value): dashboard.ValueMappingResult(text=text, color=color, index=place)
        for place, (value, (text, color)) in enumerate(states.items())
    }
    return [dashboard.ValueMap(options=options)]


def _framed(
    panel: Framed, title: str, what: str, good: str, runbooks: Sequence[str], *, width: int, height: int
) -> Framed:
    """What every panel of data has, whatever it shows. Arguments as of `stat`."""
    builder: Any = panel  # the builders have these methods in common, and no class
    builder.title(title).description(described(what, good, runbooks)).datasource(SOURCE)
    builder.links(runbook_links(runbooks)).height(height).span(width)
    return panel


def stat(
    title: str,
    what: str,
    good: str,
    queries: Query | Sequence[Query],
    *,
    unit: str = "short",
    steps: Steps = (),
    below: str = GREEN,
    states: States | None = None,
    runbooks: Sequence[str] = (),
    width: int = 3,
    decimals: int | None = None,
    calm: bool = False,
    empty: str = "no data",
) -> Panel:
    """One figure with its course behind it, in the colour of its state.

    Args:
        title: what it is.
        what: what one reads off it.
        good: what it is where all is well.
        queries: one or several.
        unit: as Grafana names it.
        steps: thresholds.
        below: the colour below the first.
        states: words for values.
        runbooks: names of alerts that watch the same.
        width: of 24.
        decimals: places shown.
        calm: without a colour behind it: a figure that is neither good nor bad.
        empty: what stands there without data.
    """
    mode = common.BigValueColorMode.NONE if calm else common.BigValueColorMode.BACKGROUND
    made = (
        _framed(stat_builders.Panel(), title, what, good, runbooks, width=width, height=4)
        .targets(_listed(queries))
        .unit(unit)
        .no_value(empty)
        .thresholds(thresholds(steps, below))
        .color_scheme(builders.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
        .color_mode(mode)
        .graph_mode(common.BigValueGraphMode.NONE if states else common.BigValueGraphMode.AREA)
        .text_mode(common.BigValueTextMode.AUTO)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    )
    if states:
        made = made.mappings(named(states))
    return made if decimals is None else made.decimals(decimals)


def series(
    title: str,
    what: str,
    good: str,
    queries: Query | Sequence[Query],
    *,
    unit: str = "short",
    steps: Steps = (),
    runbooks: Sequence[str] = (),
    width: int = 12,
    stacked: bool = False,
    log: bool = False,
    most: float | None = None,
) -> Panel:
    """Curves over time; thresholds are drawn as lines. Arguments as of `stat`.

    Args:
        stacked: whether the series add up to something.
        log: a logarithmic axis, for what spans orders of magnitude.
        most: upper end of the axis; chosen by Grafana if not given.
    """
    style = common.GraphThresholdsStyleMode.DASHED if steps else common.GraphThresholdsStyleMode.OFF
    made = (
        _framed(series_builders.Panel(), title, what, good, runbooks, width=width, height=8)
        .targets(_listed(queries))
        .unit(unit)
        .min(0)
        .thresholds(thresholds(steps))
        .thresholds_style(common_builders.GraphThresholdsStyleConfig().mode(style))
        .color_scheme(builders.FieldColor().mode(dashboard.FieldColorModeId.PALETTE_CLASSIC))
        .line_width(1)
        .fill_opacity(30 if stacked else 10)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.TABLE)
            .placement(common.LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "max"])
            .show_legend(True)
        )
        .tooltip(
            common_builders.VizTooltipOptions()
            .mode(common.TooltipDisplayMode.MULTI)
            .sort(common.SortOrder.DESCENDING)
        )
    )
    if stacked:
        made = made.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    if log:
        scale = common_builders.ScaleDistributionConfig().type(common.ScaleDistribution.LOG).log(10)
        made = made.scale_distribution(scale)
    return made if most is None else made.max(most)


def timeline(
    title: str,
    what: str,
    good: str,
    queries: Query | Sequence[Query],
    states: States,
    *,
    runbooks: Sequence[str] = (),
    width: int = 24,
    height: int = 7,
) -> Panel:
    """States over time, one row a series. Arguments as of `stat`."""
    return (
        _framed(timeline_builders.Panel(), title, what, good, runbooks, width=width, height=height)
        .targets(_listed(queries))
        .mappings(named(states))
        .thresholds(thresholds(()))
        .color_scheme(builders.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
        .show_value(common.VisibilityMode.NEVER)
        .merge_values(True)
        .row_height(0.8)
        .fill_opacity(80)
    )


def table(
    title: str,
    what: str,
    good: str,
    queries: Mapping[str, Query],
    *,
    hidden: Sequence[str] = (),
    columns: Mapping[str, Sequence[tuple[str, object]]] | None = None,
    names: Mapping[str, str] | None = None,
    runbooks: Sequence[str] = (),
    width: int = 24,
    height: int = 8,
    empty: str = "nothing",
) -> Panel:
    """A table: one row for each set of labels, one column for each query. Arguments as of `stat`.

    Args:
        queries: instant ones, each under the title of its column.
        hidden: labels that are left out.
        columns: properties of columns by title, such as a unit or a link.
        names: titles of the columns that show labels.
    """
    made = (
        _framed(table_builders.Panel(), title, what, good, runbooks, width=width, height=height)
        .targets(list(queries.values()))
        .no_value(empty)
        .align(common.FieldTextAlignment.AUTO)
        .thresholds(thresholds(()))
    )
    values = [f"Value #{chr(ord('A') + place)}" for place in range(len(queries))]
    renamed = dict(zip(values if len(values) > 1 else ["Value"], queries, strict=True)) | dict(names or {})
    if len(queries) > 1:
        made = made.with_transformation(dashboard.DataTransformerConfig(id_val="merge", options={}))
    made = made.with_transformation(
        dashboard.DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": dict.fromkeys(["Time", "__name__", *hidden], True),
                "renameByName": renamed,
            },
        )
    )
    for column, properties in (columns or {}).items():
        made = made.override_by_name(
            column, [dashboard.DynamicConfigValue(id_val=id_, value=value) for id_, value in properties]
        )
    return made


def text(title: str, markdown: str, *, width: int = 8, height: int = 8) -> Panel:
    """Words, for whoever sees the dashboard for the first time."""
    made = text_builders.Panel().title(title).description("What is where.").mode(TextMode.MARKDOWN)
    return made.content(markdown).height(height).span(width)


def coloured(steps: Steps, unit: str, below: str = GREEN) -> list[tuple[str, object]]:
    """Properties of a table's column whose cells have the colour of their value."""
    return [
        ("unit", unit),
        ("thresholds", thresholds(steps, below).build()),
        ("custom.cellOptions", {"type": "color-background", "mode": "basic"}),
    ]


def linked(title: str, url: str) -> tuple[str, object]:
    """The property of a table's column whose cells lead somewhere."""
    return "links", [{"title": title, "url": url, "targetBlank": True}]


def _listed(queries: Query | Sequence[Query]) -> list[Builder[Dataquery]]:
    given = [queries] if isinstance(queries, Query) else list(queries)
    for place, one in enumerate(given):
        one.ref_id(chr(ord("A") + place))
    return list(given)
