"""Plugins: how they are found, checked and refused; and that what one does wrong stays with its own event or day."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ConfigDict

from emr_plugins.api import (
    API_VERSION,
    EVERY_DAY,
    Appointment,
    Body,
    Change,
    Context,
    EmrPlugin,
    Event,
    Instants,
    Item,
    ItemChange,
    LocalDates,
    Reject,
    Slot,
    Span,
    StandardEnginePlugin,
    Touched,
    WorkingHours,
)
from emr_plugins.host import MAX_CHANGES, MAX_PROVIDERS, PluginHost, Tenant
from emr_plugins.registry import GROUP, Registry, discover
from processors.keys import ItemKey, ProviderKey
from processors.revisions import Revision
from processors.times import instant

MARKER = "Zq7marker"
DAY = date(2026, 3, 9)
PROVIDER = ProviderKey("t", "fake", "p1")


def at(hour: int, day: int = 9) -> datetime:
    return datetime(2026, 3, day, hour, tzinfo=UTC)


def slot(status: Any = "free") -> Slot:
    return Slot(status=status, start=at(14), end=at(15))


def change(id_: Any = "s1", body: Any = None, providers: Any = ("p1",), version: Any = 0) -> ItemChange:
    return ItemChange(id_, slot() if body is None else body, providers, version)


def item(body: Body, id_: str = "s1") -> Item:
    key = ItemKey("t", "fake", body.kind, id_)
    return Item(key, ("p1",), Revision.of(1, at(0), "1"), body)


def event(emr: str = "fake", tenant: str = "t", type_: str = "booked") -> Event:
    envelope = {"specversion": "1.0", "id": "e1", "source": "s", "time": "2026-01-01T00:00:00Z"}
    return Event.model_validate(
        {**envelope, "type": type_, "tenant": tenant, "emr": emr, "data": {"name": MARKER}}
    )


class FakePlugin(StandardEnginePlugin):
    """Its methods return whatever a test gives it, or raise it."""

    name: ClassVar[str] = "fake"
    api_version: ClassVar[int] = API_VERSION
    answers: ClassVar[dict[str, Any]] = {}

    def _answer(self, method: str) -> Any:
        answer = self.answers[method]
        if isinstance(answer, BaseException):
            raise answer
        return answer() if callable(answer) else answer

    def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
        answer: Iterable[ItemChange] = self._answer("decode")
        return answer

    def impact(self, change: Change, context: Context) -> Iterable[Touched]:
        answer: Iterable[Touched] = self._answer("impact")
        return answer

    def spans(self, day: date, items: Sequence[Item], context: Context) -> Sequence[Span]:
        answer: Sequence[Span] = self._answer("spans")
        return answer


def plugin(**answers: Any) -> FakePlugin:
    class Answering(FakePlugin):
        pass

    Answering.answers = answers
    return Answering()


def host_of(*plugins: EmrPlugin, tenants: Mapping[str, Tenant] | None = None) -> PluginHost:
    registry = discover()
    for one in plugins:
        registry.add(one, "fake-package", "1.2")
    assert not registry.refused
    known = {"t": Tenant("America/New_York", {})} if tenants is None else tenants
    return PluginHost(registry, lambda name: known.get(name))


def refused_decode(answer: Any) -> Reject:
    with pytest.raises(Reject) as caught:
        host_of(plugin(decode=answer)).decode(event())
    assert MARKER not in str(caught.value)
    return caught.value


# Discovery ------------------------------------------------------------------------------------------------------------


def test_the_built_in_plugins_come_through_the_entry_points() -> None:
    registry = discover()
    assert set(registry.plugins) >= {"standard", "fhir_r4", "hl7v2"}
    assert not registry.refused
    assert registry.plugins["fhir_r4"].distribution == "scheduling-kcl-app"
    assert registry.plugins["fhir_r4"].version


@pytest.fixture
def entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., EntryPoint]]:
    """Makes an importable module of some source, and an entry point to what is called Plugin in it."""
    monkeypatch.syspath_prepend(tmp_path)
    made: list[str] = []

    def make(name: str, body: str = "", *, head: str = "", attribute: str = "Plugin") -> EntryPoint:
        module = f"plugin_of_a_test_{len(made)}"
        made.append(module)
        source = (
            f"from emr_plugins.api import *\n{head}\n"
            f"class Plugin(StandardEnginePlugin):\n    name = {name!r}\n    api_version = API_VERSION\n"
            f"    def decode(self, event, context):\n        return []\n{body}\n"
        )
        (tmp_path / f"{module}.py").write_text(source)
        return EntryPoint(name, f"{module}:{attribute}", GROUP)

    yield make
    for module in made:
        sys.modules.pop(module, None)


def refusals(*points: EntryPoint, allow: Sequence[str] | None = None) -> dict[str, str]:
    return {one.name: one.reason for one in discover(allow, points).refused}


def test_a_third_party_is_found_like_a_built_in(entry_point: Callable[..., EntryPoint]) -> None:
    registry = discover(found=[entry_point("acme")])
    assert list(registry.plugins) == ["acme"]
    assert registry.plugins["acme"].patterns[0].everything


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("    api_version = 2", "it was written for version 2 of the plugin API; this is version 1"),
        ("    api_version = '1'", "it was written for version '1' of the plugin API; this is version 1"),
        ("    def decode(self, event): return []", "its decode takes (event) and must take (event, context)"),
        ("    def impact(self, ctx, change): ...", "its impact takes (ctx, change) and must take (change, context)"),
        ("    def spans(self, *args): ...", "its spans takes (args) and must take (day, items, context)"),
        ("    spans = 7", "it has no method spans"),
        ("    Settings = dict", "its Settings is not a pydantic model"),
        ("    patterns = [{'kind': 'slot'}]", 'its patterns: kind: must be an object, or a list of values as ["slot"]'),
        ("    patterns = [[]]", "its patterns: the pattern: must be an object"),
        ("    patterns = None", "its patterns: 'NoneType' object is not iterable"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_plugin_is_said(
    entry_point: Callable[..., EntryPoint], body: str, reason: str
) -> None:
    point = entry_point("acme", body)
    assert refusals(point, entry_point("good")) == {"acme": reason}


@pytest.mark.parametrize("name", ["Acme", "1st", "with-dash", "", "x" * 65, "naïve"])
def test_a_name_is_lower_case_letters_digits_and_underscores(
    entry_point: Callable[..., EntryPoint], name: str
) -> None:
    assert refusals(entry_point(name)) == {
        name: "its name must be lower-case letters, digits and underscores"
    }


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ("raise RuntimeError('no licence')", "it failed to load: RuntimeError: no licence"),
        ("import no_such_module", "it failed to load: ModuleNotFoundError: No module named 'no_such_module'"),
        ("import sys; sys.exit(3)", "it failed to load: SystemExit: 3"),
    ],
)
def test_an_import_that_fails_stops_no_other_plugin(
    entry_point: Callable[..., EntryPoint], head: str, reason: str
) -> None:
    registry = discover(found=[entry_point("acme", head=head), entry_point("good")])
    assert [one.reason for one in registry.refused] == [reason]
    assert list(registry.plugins) == ["good"]


def test_what_is_no_plugin_is_refused(entry_point: Callable[..., EntryPoint]) -> None:
    body = "class Other:\n    name = 'acme'\n"
    assert refusals(entry_point("acme", body, attribute="Other")) == {"acme": "it is not an EmrPlugin"}
    missing = refusals(entry_point("acme", attribute="Missing"))["acme"]
    assert missing.startswith("it failed to load: AttributeError: ")
    abstract = refusals(entry_point("acme", "class Half(EmrPlugin):\n    name = 'acme'\n", attribute="Half"))[
        "acme"
    ]
    assert abstract.startswith("it failed to load: TypeError: Can't instantiate abstract class")


def test_the_entry_point_and_the_class_must_agree_on_the_name(entry_point: Callable[..., EntryPoint]) -> None:
    point = entry_point("acme", "    name = 'other'")
    assert refusals(point) == {"acme": "its entry point is called acme and its class other"}


def test_of_two_plugins_with_one_name_neither_runs(entry_point: Callable[..., EntryPoint]) -> None:
    registry = discover(
        found=[entry_point("acme"), entry_point("acme"), entry_point("acme"), entry_point("good")]
    )
    assert list(registry.plugins) == ["good"]
    assert [one.name for one in registry.refused] == ["acme"] * 3
    assert all(one.reason.startswith("two plugins are called acme") for one in registry.refused)


def test_only_what_is_allowed_is_even_imported(entry_point: Callable[..., EntryPoint]) -> None:
    acme, evil = entry_point("acme"), entry_point("evil", head="raise SystemExit(9)")
    registry = discover(["acme"], [acme, evil, entry_point("standard")])
    assert sorted(registry.plugins) == ["acme", "standard"]
    assert not registry.refused
    assert evil.module not in sys.modules


def test_what_is_allowed_and_not_installed_is_told(entry_point: Callable[..., EntryPoint]) -> None:
    standard = entry_point("standard")
    assert refusals(standard, allow=["acme"]) == {
        "acme": "the settings allow it, but no installed package has it"
    }
    assert refusals(standard, allow=[]) == {}


# The host: whose event, whose settings --------------------------------------------------------------------------------


def test_an_unknown_tenant_or_emr_is_a_reject() -> None:
    host = host_of(plugin(decode=[]))
    for one, reason in ((event(tenant=MARKER), "unknown_tenant"), (event(emr=MARKER), "unknown_emr")):
        with pytest.raises(Reject) as caught:
            host.decode(one)
        assert caught.value.reason == reason
        assert MARKER not in caught.value.detail


def test_a_reserved_type_does_not_make_an_unknown_emr_known() -> None:
    with pytest.raises(Reject, match="unknown_emr"):
        host_of().decode(event(emr=MARKER, type_="slot"))


def test_events_of_a_refused_plugin_say_why_it_does_not_run() -> None:
    class Old(FakePlugin):
        api_version: ClassVar[int] = 99

    registry = discover()
    registry.add(Old())
    with pytest.raises(Reject) as caught:
        PluginHost(registry, lambda name: Tenant("UTC", {})).decode(event())
    assert caught.value.reason == "unknown_emr"
    assert caught.value.detail.endswith(
        "does not run: it was written for version 99 of the plugin API; this is version 1"
    )


def test_nothing_starts_without_the_plugin_of_the_reserved_types() -> None:
    class Impostor(FakePlugin):
        name: ClassVar[str] = "standard"

    registry = discover()
    registry.add(Impostor(), "evil-package")
    registry.add(plugin(decode=[]))
    host = PluginHost(registry, lambda name: Tenant("UTC", {}))
    with pytest.raises(
        ValueError, match=r"^plugins: the built-in plugin standard does not run: two plugins are"
    ):
        host.check_settings([])
    with pytest.raises(Reject, match="unknown_emr"):
        host.decode(event(type_="slot"))


class Wants(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    rooms: int


class WantingPlugin(FakePlugin):
    """Has a setting without a default."""

    name: ClassVar[str] = "wanting"
    Settings: ClassVar[type[BaseModel]] = Wants
    answers: ClassVar[dict[str, Any]] = {"decode": [change()], "impact": [], "spans": []}


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"wanting": {"rooms": MARKER}}, "tenants.t.plugins.wanting.rooms: "),
        ({"wanting": {}}, "tenants.t.plugins.wanting.rooms: "),
        ({"wanting": {"rooms": 1, "extra": MARKER}}, "tenants.t.plugins.wanting.extra: "),
        ({"unheard_of": {}}, "tenants.t.plugins.unheard_of: no plugin of that name runs"),
    ],
)
def test_wrong_settings_of_a_tenant_name_their_key_at_the_start(settings: dict[str, Any], key: str) -> None:
    host = host_of(WantingPlugin(), tenants={"t": Tenant("UTC", settings)})
    with pytest.raises(ValueError, match="^" + re.escape(key)) as caught:
        host.check_settings(["t"])
    assert MARKER not in str(caught.value)


def test_each_tenant_has_settings_of_its_own() -> None:
    seen: list[Context] = []

    class Listening(WantingPlugin):
        def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
            seen.append(context)
            return []

    tenants = {
        "a": Tenant("UTC", {"wanting": {"rooms": 1}}),
        "b": Tenant("Europe/Paris", {"wanting": {"rooms": 2}}),
    }
    host = host_of(Listening(), tenants=tenants)
    host.check_settings(tenants)
    for tenant in ("a", "b", "a"):
        host.decode(event("wanting", tenant))
    assert [(one.tenant, one.emr, one.zone, one.settings.rooms) for one in seen] == [
        ("a", "wanting", "UTC", 1),
        ("b", "wanting", "Europe/Paris", 2),
        ("a", "wanting", "UTC", 1),
    ]


def test_a_tenant_without_the_settings_that_a_plugin_needs_has_its_events_set_aside() -> None:
    host = host_of(WantingPlugin())
    host.check_settings(["t"])
    provider = ProviderKey("t", "wanting", "p1")
    for call in (lambda: host.decode(event("wanting")), lambda: host.spans(provider, "UTC", DAY, [])):
        with pytest.raises(Reject) as caught:
            call()
        assert (caught.value.reason, caught.value.detail) == (
            "plugin_failed",
            "plugin wanting: the tenant's settings: rooms: is required",
        )
    assert host.impact(provider, lambda: "UTC", Change(None, item(slot()))) is None


def test_the_zone_of_decode_is_the_tenants_and_of_the_rest_the_providers() -> None:
    zones: list[str] = []

    class Listening(FakePlugin):
        def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
            zones.append(context.zone)
            return []

        def impact(self, change: Change, context: Context) -> Iterable[Touched]:
            zones.append(context.zone)
            return []

        def spans(self, day: date, items: Sequence[Item], context: Context) -> Sequence[Span]:
            zones.append(context.zone)
            return []

    host = host_of(Listening())
    host.decode(event())
    host.impact(PROVIDER, lambda: "Asia/Tokyo", Change(None, item(slot())))
    host.spans(PROVIDER, "Asia/Tokyo", DAY, [])
    assert zones == ["America/New_York", "Asia/Tokyo", "Asia/Tokyo"]
    assert host.zone("t") == "America/New_York"
    assert host.zone("stranger") == "UTC"


def test_every_call_is_measured() -> None:
    calls: list[tuple[str, str]] = []

    @contextmanager
    def timer(name: str, method: str) -> Iterator[None]:
        calls.append((name, method))
        yield

    registry = discover()
    registry.add(plugin(decode=[], impact=[], spans=[]))
    tenant = Tenant("UTC", {})
    host = PluginHost(registry, lambda name: tenant, timer)
    host.decode(event())
    host.impact(PROVIDER, lambda: "UTC", Change(None, item(slot())))
    host.spans(PROVIDER, "UTC", DAY, [])
    assert calls == [("fake", method) for method in ("settings", "decode", "impact", "spans")]


def test_which_plugin_and_version_computes_is_told() -> None:
    host = host_of(plugin())
    assert host.version("fake") == ("fake", "1.2")
    assert host.version("gone") == ("gone", "")


# The host: what decode may return -------------------------------------------------------------------------------------


def test_what_decode_returns_is_handed_on_from_any_iterable() -> None:
    changes = [change("a"), change("b", providers=("p1", "p2"), version=3)]
    assert host_of(plugin(decode=changes)).decode(event()) == tuple(changes)
    assert host_of(plugin(decode=lambda: iter(changes))).decode(event()) == tuple(changes)
    assert host_of(plugin(decode=[])).decode(event()) == ()


def test_a_plugin_that_raises_in_decode_is_a_reject_without_its_message() -> None:
    reject = refused_decode(RuntimeError(f"cannot read {MARKER}"))
    assert reject.reason == "plugin_failed"
    assert re.fullmatch(
        r"plugin fake: decode raised RuntimeError at test_registry_host\.py:\d+", reject.detail
    )

    def late() -> Iterator[ItemChange]:
        yield change()
        raise KeyError(MARKER)

    assert refused_decode(late).detail.startswith("plugin fake: decode raised KeyError at ")


def test_a_reject_of_the_plugin_keeps_its_reason() -> None:
    reject = refused_decode(Reject("invalid_data", "data.start: is required"))
    assert (reject.reason, reject.detail) == ("invalid_data", "data.start: is required")


def test_a_reason_of_the_plugins_own_becomes_one_of_the_fixed_list() -> None:
    reject = refused_decode(Reject("code_4711_of_4712", "data.start: is required"))
    assert (reject.reason, reject.detail) == ("invalid_data", "data.start: is required")


class Odd(Appointment):
    """A body that nobody could read back."""


class Unknown(Body):
    kind: ClassVar[str] = "surgery"


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ([MARKER], "something other than ItemChange"),
        ([None], "something other than ItemChange"),
        (MARKER, "something other than ItemChange"),
        ({MARKER: 1}, "something other than ItemChange"),
        ([change(body=Unknown())], "a body that is none of the API's"),
        ([change(body=Odd(status="booked", start=at(1), end=at(2)))], "a body that is none of the API's"),
        ([change(version=True)], "a version that is not an integer"),
        ([change(version="1")], "a version that is not an integer"),
        ([change(version=1.0)], "a version that is not an integer"),
        ([change(providers=["p1"])], "providers that are not a tuple"),
        ([change(providers="p1")], "providers that are not a tuple"),
        ([change(providers=("",))], "a provider id that is empty"),
        ([change(providers=(7,))], "a provider id that is not a text"),
        ([change("")], "an id that is empty"),
        ([change(None)], "an id that is not a text"),
        ([change(providers=())], "an item of no provider that is not withdrawn"),
        ([change(), change(version=2)], "two changes of one item"),
    ],
)
def test_nonsense_from_decode_is_named(changes: Any, what: str) -> None:
    reject = refused_decode(changes)
    assert (reject.reason, reject.detail) == ("plugin_nonsense", f"plugin fake: decode returned {what}")


@pytest.mark.parametrize("answer", [None, 7, 1.5])
def test_what_cannot_be_gone_through_is_nonsense(answer: Any) -> None:
    reject = refused_decode(answer)
    assert (reject.reason, reject.detail) == (
        "plugin_nonsense",
        "plugin fake: decode returned nothing to go through",
    )


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit()])
def test_a_plugin_that_exits_fails_its_own_event_and_day_only(error: BaseException) -> None:
    reject = refused_decode(error)
    assert reject.reason == "plugin_failed"
    assert f"decode raised {type(error).__name__}" in reject.detail
    with pytest.raises(Reject, match=f"spans raised {type(error).__name__}"):
        spans_of(error)


@pytest.mark.parametrize(
    ("changes", "reason", "detail"),
    [
        ([change(version=-1)], "invalid_data", "version: "),
        ([change(version=10**18)], "invalid_data", "version: "),
        ([change("a\nb")], "invalid_data", "an id holds control characters"),
        ([change(providers=("p\x00",))], "invalid_data", "a provider id holds control characters"),
        ([change("\ud800")], "invalid_data", "an id holds control characters"),
        ([change("x" * 257)], "too_large", "an id is too long"),
        ([change("日" * 200)], "too_large", "an id is too long"),
        ([change(providers=("x" * 257,))], "too_large", "a provider id is too long"),
        (
            [change(providers=tuple(f"p{n}" for n in range(MAX_PROVIDERS + 1)))],
            "too_large",
            "the item names more",
        ),
        ([change(f"s{n}") for n in range(MAX_CHANGES + 1)], "too_large", "the event changes more than"),
    ],
)
def test_what_no_table_could_hold_is_refused(changes: Any, reason: str, detail: str) -> None:
    reject = refused_decode(changes)
    assert reject.reason == reason
    assert reject.detail.startswith(detail)


def test_a_decode_without_an_end_comes_to_one() -> None:
    def endless() -> Iterator[ItemChange]:
        number = 0
        while True:
            number += 1
            yield change(f"s{number}")

    assert refused_decode(endless).reason == "too_large"


def test_a_withdrawn_item_may_name_no_provider() -> None:
    gone = change(body=Slot(status="cancelled"), providers=())
    assert host_of(plugin(decode=[gone])).decode(event()) == (gone,)


# The host: impact -----------------------------------------------------------------------------------------------------


def impact_of(
    answer: Any, *, patterns: Sequence[Mapping[str, Any]] = ({},), one: Change | None = None
) -> Any:
    made = plugin(impact=answer)
    type(made).patterns = patterns
    return host_of(made).impact(PROVIDER, lambda: "America/New_York", one or Change(None, item(slot())))


def test_impacts_become_instants() -> None:
    found = impact_of([Instants(at(14), at(15)), LocalDates(DAY, DAY)])
    assert found[0] == (instant(at(14)), instant(at(15)))
    low, high = found[1]
    assert low <= instant(at(4))
    assert high >= instant(at(4, 10))
    assert impact_of([]) == ()
    assert impact_of([Instants(at(14), at(15)), EVERY_DAY]) is None


@pytest.mark.parametrize(
    "answer",
    [RuntimeError(MARKER), None, 7, [None], [(1, 2)], [MARKER], [Instants(MARKER, MARKER)]],  # type: ignore[arg-type]
)
def test_a_plugin_whose_impact_fails_has_every_day_recomputed(answer: Any) -> None:
    assert impact_of(answer) is None


def test_an_emr_that_no_plugin_runs_for_has_every_day_impacted() -> None:
    assert host_of().impact(ProviderKey("t", "gone", "p"), lambda: "UTC", Change(None, item(slot()))) is None


NEW, OLD = item(slot()), item(slot("busy"))


@pytest.mark.parametrize(
    ("patterns", "one", "matches"),
    [
        ([{}], Change(None, NEW), True),
        ([{"kind": ["slot"]}], Change(None, NEW), True),
        ([{"kind": ["appointment"]}], Change(None, NEW), False),
        ([{"kind": ["appointment"]}, {"kind": ["slot"]}], Change(None, NEW), True),
        ([{"eventName": ["INSERT"]}], Change(None, NEW), True),
        ([{"eventName": ["INSERT"]}], Change(OLD, NEW), False),
        ([{"eventName": ["MODIFY"]}], Change(OLD, NEW), True),
        ([{"eventName": ["REMOVE"]}], Change(OLD, None), True),
        ([{"newImage": {"status": ["free"]}}], Change(OLD, NEW), True),
        ([{"newImage": {"status": ["free"]}}], Change(NEW, OLD), False),
        ([{"oldImage": {"status": ["busy"]}}], Change(OLD, NEW), True),
        ([{"oldImage": {"status": ["busy"]}}], Change(None, NEW), False),
        ([{"newImage": {"id": ["s1"], "kind": ["slot"]}}], Change(None, NEW), True),
        ([{"newImage": {"start": ["2026-03-09T14:00:00Z"]}}], Change(None, NEW), True),
        ([{"tenant": ["t"], "emr": ["fake"]}], Change(None, NEW), True),
        ([{"tenant": ["other"]}], Change(None, NEW), False),
        ([{"keys": {"pk": ["t#fake#p1"], "sk": ["slot#s1"]}}], Change(None, NEW), True),
        ([], Change(None, NEW), False),
    ],
)
def test_patterns_decide_whether_a_change_recomputes(
    patterns: Sequence[Mapping[str, Any]], one: Change, matches: bool
) -> None:
    found = impact_of([Instants(at(14), at(15))], patterns=patterns, one=one)
    assert found == (((instant(at(14)), instant(at(15))),) if matches else ())


def test_impact_is_not_asked_where_no_pattern_matches() -> None:
    assert impact_of(RuntimeError("must not be asked"), patterns=[{"kind": ["none"]}]) == ()


# The host: spans ------------------------------------------------------------------------------------------------------


def spans_of(answer: Any) -> tuple[Span, ...]:
    return host_of(plugin(spans=answer)).spans(PROVIDER, "America/New_York", DAY, [])


def test_spans_are_handed_on_in_their_one_order() -> None:
    late, early = Span(at(20), at(21), "b"), Span(at(14), at(15), "a")
    assert spans_of([late, early]) == (early, late)
    assert spans_of(()) == ()


def test_a_plugin_that_raises_in_spans_is_a_reject_without_its_message() -> None:
    with pytest.raises(Reject) as caught:
        spans_of(ZeroDivisionError(MARKER))
    assert str(caught.value).startswith("plugin_failed: plugin fake: spans raised ZeroDivisionError at ")
    assert MARKER not in str(caught.value)


def test_an_emr_that_no_plugin_runs_for_has_no_spans() -> None:
    with pytest.raises(Reject, match="unknown_emr"):
        host_of().spans(ProviderKey("t", "gone", "p"), "UTC", DAY, [])


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (None, "are not a list of Span"),
        (MARKER, "are not a list of Span"),
        ([MARKER], "are not a list of Span"),
        ([(at(14), at(15))], "are not a list of Span"),
        ([Span(at(15), at(14))], "end before they start"),
        ([Span(at(14), at(14))], "end before they start"),
        (
            [Span(at(14).replace(tzinfo=None), at(15).replace(tzinfo=None))],
            "have times that are not aware datetimes",
        ),
        ([Span(MARKER, at(15))], "have times that are not aware datetimes"),  # type: ignore[arg-type]
        ([Span(at(3), at(5))], "reach outside the local day"),
        ([Span(at(3, 10), at(5, 10))], "reach outside the local day"),
        ([Span(at(14), at(16)), Span(at(15), at(17))], "overlap or are not sorted"),
        ([Span(at(16), at(17)), Span(at(14), at(15))], "overlap or are not sorted"),
        ([Span(at(14), at(15), 7)], "have a location_id that is not a text"),  # type: ignore[arg-type]
        ([Span(at(14), at(15), None, ["a"])], "have service_types that are not a tuple of texts"),  # type: ignore[arg-type]
        ([Span(at(14), at(15), None, (7,))], "have service_types that are not a tuple of texts"),  # type: ignore[arg-type]
        ([Span(at(14), at(15), None, (), 0)], "have a capacity below one"),
        ([Span(at(14), at(15), None, (), True)], "have a capacity below one"),
    ],
)
def test_nonsense_from_spans_is_named(answer: Any, what: str) -> None:
    with pytest.raises(Reject) as caught:
        spans_of(answer)
    assert (caught.value.reason, caught.value.detail) == ("plugin_nonsense", f"plugin fake: spans {what}")


def test_a_registry_can_be_filled_by_hand() -> None:
    registry = Registry()
    registry.add(plugin(), "d", "1")
    assert registry.plugins["fake"].name == "fake"


WEEKLY = {"days": ["mon", "wed"], "start": "09:00", "end": "17:00"}


class OnTheHour(FakePlugin):
    """A plugin with an engine of its own: a span in the morning, and nonsense where there are many items."""

    def spans(self, day: date, items: Sequence[Item], context: Context) -> Sequence[Span]:
        start = datetime(day.year, day.month, day.day, 9, tzinfo=UTC)
        return [Span(start, start + timedelta(hours=1))] if len(items) == 1 else [Span(start, start)]


@pytest.mark.parametrize("emr", ["standard", "fake"])
def test_days_asked_for_together_are_answered_as_each_alone(emr: str) -> None:
    """Whoever computes them: the standard engine in one call, or a plugin's own one by one, nonsense and all."""
    host, provider = host_of(OnTheHour()), ProviderKey("t", emr, "p1")

    def items(number: int, lines: int) -> list[Item]:
        body = WorkingHours.model_validate({"weekly": [WEEKLY] * lines})
        keys = [ItemKey("t", emr, "working_hours", str(place)) for place in range(number)]
        return [Item(key, ("p1",), Revision(0, "", ""), body) for key in keys]

    few, too_many = items(1, 1), items(6, 1000)
    days = [(DAY + timedelta(days=n), too_many if n % 3 == 1 else few) for n in range(9)]

    def alone(day: date, items: Sequence[Item]) -> Any:
        try:
            return host.spans(provider, "Europe/Paris", day, items)
        except Reject as reject:
            return reject.reason, reject.detail

    together = host.spans_of_days(provider, "Europe/Paris", days)
    told = [(one.reason, one.detail) if isinstance(one, Reject) else one for one in together]
    assert told == [alone(day, items) for day, items in days]
    assert {isinstance(one, Reject) for one in together} == {True, False}
    assert host.spans_of_days(provider, "Europe/Paris", []) == []


def test_where_the_standard_engine_fails_on_one_day_the_others_have_their_spans() -> None:
    """It never should; if it does, days asked for together are asked for one by one."""
    days = [(DAY + timedelta(days=n), [None] if n == 1 else []) for n in range(3)]
    answers = host_of().spans_of_days(ProviderKey("t", "standard", "p1"), "UTC", days)  # type: ignore[arg-type]
    assert answers[0] == answers[2] == ()
    assert isinstance(answers[1], Reject)
    assert answers[1].reason == "plugin_failed"
