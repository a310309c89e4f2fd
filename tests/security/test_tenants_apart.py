"""No tenant, EMR, provider or item can reach into the keys of another, whatever it is called."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pipeline_in_memory import ENVELOPE, Pipeline, host

from emr_plugins.standard import StandardPlugin
from kcl_app.engine.dead_letters import Letter
from kcl_app.stores.base import Table
from kcl_app.stores.rows import copy_key, known_key, owner_key
from processors.envelope import Event, Limits, Record, read_event
from processors.errors import Reject
from processors.items import BODIES
from processors.keys import ItemKey, ProviderKey, decode_part, encode_part

AWKWARD = [
    "-", "#", "%", "/", ".", "..", "%23", "%2523", "a#b", "a%23b", "a/b", "item", "owner", "sha256", "tenants", "a",
    "A", "ä", unicodedata.normalize("NFD", "ä"), "ﬁ", "fi", "\u202eabc", "\u200b", " a", "a ", "İ", "i̇", "ß", "ss", "𝒜",
    "\ufffd", "\x7f", "*", "~", "a|b", "'; --", "\N{KELVIN SIGN}", "K", "x" * 128,
]  # fmt: skip
"""Names that are easily taken for another, or for a part of a key."""

names = st.one_of(
    st.sampled_from(AWKWARD),
    st.text(st.sampled_from("a#%/-.2d35|"), min_size=1, max_size=6),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=30),
)
emrs = st.sampled_from(["standard", "item", "fhir_r4", "a", "a_b"])
kinds = st.sampled_from(sorted(BODIES))
Parts = tuple[str, str, str, str, str]
"""Tenant, emr, provider, kind, item id."""
parts = st.tuples(names, emrs, names, kinds, names)


def keys(of: Parts) -> dict[str, tuple[object, tuple[str, str]]]:
    """Every key that is made of these names: what it stands for, and where it is."""
    tenant, emr, provider, kind, id_ = of
    item, whose = ItemKey(tenant, emr, kind, id_), ProviderKey(tenant, emr, provider)
    return {
        "items": (("copy", item, provider), copy_key(item, provider)),
        "owners": (("owner", item), owner_key(item)),
        "spans": (("spans", whose), (whose.pk(), "2026-03-09")),
        "providers": (("known", whose), known_key(whose)),
    }


@given(names, names)
@example("-", "%2D")
@example("..", ".")
def test_encoding_is_one_to_one_and_holds_no_separator(one: str, other: str) -> None:
    assert decode_part(encode_part(one)) == one
    assert (encode_part(one) == encode_part(other)) == (one == other)
    assert set("#/|").isdisjoint(encode_part(one))
    assert encode_part(one) not in ("-", ".", "..", "")


@given(parts, parts)
@example(("a", "item", "p", "slot", "s"), ("a", "item", "item", "slot", "s"))
@example(("a", "item", "slot#s", "slot", "s"), ("a", "item", "slot", "slot", "s"))
@example(("a#standard", "a", "p", "slot", "s"), ("a", "standard", "a#p", "slot", "s"))
@settings(max_examples=300, deadline=None)
def test_two_things_have_two_keys_and_a_tenants_keys_all_begin_with_it(one: Parts, other: Parts) -> None:
    """Items and owner records are in one table: none of either may stand where another does."""
    mine, theirs = keys(one), keys(other)
    for at, (what, key) in mine.items():
        assert key[0].split("#")[0] == encode_part(one[0])
        for there, (other_what, other_key) in theirs.items():
            in_one_table = at == there or {at, there} == {"items", "owners"}
            if in_one_table:
                assert (what == other_what) == (key == other_key)
            if in_one_table and one[0] != other[0]:
                assert key[0] != other_key[0]  # what is queried is a partition
                assert not key[0].startswith(f"{encode_part(other[0])}#")
    stream = ProviderKey(*one[:3]).partition_key(), ProviderKey(*other[:3]).partition_key()
    assert (stream[0] == stream[1]) == (one[:3] == other[:3])
    assert all(1 <= len(key) <= 256 for key in stream)


@given(names, names)
@example("-", "a")
def test_a_dead_letter_stands_with_its_tenant_or_with_nobody(one: str, other: str) -> None:
    """Letters of no tenant have a partition that no tenant's name gives."""
    record = Record(b"x", "7")
    unchecked: Any = Event.model_construct

    def letter(tenant: str | None) -> Letter:
        if tenant is None:
            return Letter("not_json", "x", "s-0", record)
        return Letter("not_json", "x", "s-0", record, unchecked(tenant=tenant))

    nobody, mine, theirs = (letter(name).key()[0] for name in (None, one, other))
    assert nobody not in (mine, theirs)
    assert "#" not in mine
    assert (mine == theirs) == (one == other)
    by_provider = Letter(
        "plugin_failed", "x", "s-0", None, None, "p", ProviderKey(one, "e", "p").pk(), ("2026-03-09",)
    )
    assert by_provider.key()[0] == mine


@pytest.mark.parametrize("source", [
    "/tenants/other", "/tenants/Acme", "/tenants/", "/tenants/acme%20", "/tenants/acme%00", "/tenants/%FFacme",
    "/tenants/acme%2Fx", "/tenants/%61cmf", "/tenants/a%CC%88cme", "/tenants//acme",
])  # fmt: skip
def test_a_source_that_names_another_tenant_is_refused(source: str) -> None:
    with pytest.raises(Reject, match="source names another tenant"):
        read_event(json.dumps({**ENVELOPE, "source": source}).encode(), Limits())


@pytest.mark.parametrize(
    "source", ["/tenants/acme", "/tenants/%61cme", "/tenants/acme/clinics/1", "urn:x:other"]
)
def test_a_source_that_names_the_tenant_or_none_is_taken(source: str) -> None:
    assert read_event(json.dumps({**ENVELOPE, "source": source}).encode(), Limits()).tenant == "acme"


def test_confusable_tenants_have_calendars_of_their_own() -> None:
    """The same ids everywhere: each tenant has just its own hours, and its own dead letters."""
    tenants = [name for name in AWKWARD if not any(unicodedata.category(c) == "Cc" for c in name)]
    sent = []
    for number, tenant in enumerate(tenants):
        hours = [{"days": ["mon"], "start": "09:00", "end": f"{10 + number % 12:02d}:{number // 12:02d}"}]
        data = {"id": "wh-1", "provider_id": "item", "time_zone": "UTC", "weekly": hours}
        over = {"tenant": tenant, "source": "/a", "id": str(number), "sequence": "1"}
        sent.append(json.dumps({**ENVELOPE, "type": "working_hours", "data": data, **over}).encode())
        sent.append(json.dumps({**ENVELOPE, "type": "slot", "data": {"id": "s"}, **over}).encode())
    sent.append(b"of nobody")
    pipeline = Pipeline(host())
    result = pipeline.run(sent)
    assert result.events["applied"] == len(tenants)
    for number, tenant in enumerate(tenants):
        key = ProviderKey(tenant, StandardPlugin.name, "item")
        (row,) = pipeline.store.query(Table.SPANS, key.pk(), ("2026-03-09", "2026-03-09"))
        assert f'"end":"2026-03-09T{10 + number % 12:02d}:{number // 12:02d}:00Z"' in str(row["spans"])
        assert len(pipeline.store.query(Table.ITEMS, key.pk())) == 1
        (known,) = pipeline.store.query(Table.PROVIDERS, key.group())
        assert known["sk"] == "item"
        (letter,) = pipeline.store.query(Table.DEAD_LETTERS, encode_part(tenant))
        assert letter["tenant"] == tenant
    assert len(list(pipeline.store.scan(Table.DEAD_LETTERS))) == len(tenants) + 1
