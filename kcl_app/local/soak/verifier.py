"""Holds the tables and the dead letters against what was sent. It shares nothing of how state is written.

What must be there comes from the ledger through the clean pass; what is there is read as it stands, attribute by
attribute.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date

from emr_plugins.host import PluginHost
from kcl_app.engine.clean_pass import CleanPass, ProviderDay
from kcl_app.local.soak.ledger import Accepted, Ledger
from kcl_app.stores.base import Row, Store, Table
from processors.decoding import Rejected
from processors.envelope import Limits
from processors.items import Item
from processors.keys import ItemKey, decode_part, encode_part
from processors.spans import encode_spans

SHOWN = 20
"""Differences of one kind that are told one by one."""
WITHDRAWN = frozenset({"cancelled", "entered-in-error"})

ReadBlob = Callable[[str], bytes]


@dataclass
class Findings:
    """What the verifier has found.

    Attributes:
        records: that the stream accepted.
        days: provider-days compared.
        items: items compared.
        letters: dead letters expected, by reason.
        differences: by kind, one line each; nothing where all is as it must be.
    """

    records: int = 0
    days: int = 0
    items: int = 0
    letters: Counter[str] = field(default_factory=Counter)
    differences: dict[str, list[str]] = field(default_factory=dict)

    def differ(self, kind: str, what: str) -> None:
        """Note a difference."""
        self.differences.setdefault(kind, []).append(what)

    def count(self) -> int:
        """How many differences there are."""
        return sum(map(len, self.differences.values()))


@dataclass
class Expected:
    """What one clean pass over the ledger says.

    Attributes:
        run: after all records.
        rejected: what must be in the dead letters, each with the record that it came of.
    """

    run: CleanPass
    rejected: list[tuple[Accepted, Rejected]] = field(default_factory=list)
    records: int = 0

    @classmethod
    def of(cls, ledger: Ledger, host: PluginHost, limits: Limits) -> Expected:
        """Make the pass."""
        expected = cls(CleanPass(host, limits))
        for accepted in ledger.all():
            expected.records += 1
            for reject in expected.run.take(accepted.record()):
                expected.rejected.append((accepted, reject))
        return expected


def verify(
    expected: Expected, store: Store, read_blob: ReadBlob, today: Callable[[str], date], horizon_days: int
) -> Findings:
    """Compare.

    Args:
        expected: what must be.
        store: the tables.
        read_blob: reads a raw record from the bucket.
        today: the date in a zone.
        horizon_days: how many days, today the first.
    """
    findings = Findings(expected.records)
    _days(findings, expected.run.days(today, horizon_days), store)
    _items(findings, expected.run.items, store)
    _letters(findings, expected.rejected, store, read_blob)
    return findings


def _days(findings: Findings, days: Iterator[ProviderDay], store: Store) -> None:
    """Every provider-day is what the clean pass says, stale only where that says so; every provider is known."""
    stored = {(str(row["pk"]), str(row["sk"])): row for row in store.scan(Table.SPANS)}
    known = {(str(row["pk"]), str(row["sk"])) for row in store.scan(Table.PROVIDERS)}
    providers = set()
    for day in days:
        findings.days += 1
        key = (day.provider.pk(), day.day.isoformat())
        if day.provider not in providers:
            providers.add(day.provider)
            if (day.provider.group(), encode_part(day.provider.provider)) not in known:
                findings.differ("providers", f"{day.provider.pk()}: not known")
        _day(findings, day, key, stored.get(key))
    named = {provider.pk() for provider in providers}
    for pk in sorted({pk for pk, _ in stored} - named):
        findings.differ("provider-days", f"{pk}: documents of a provider that no event names")


def _day(findings: Findings, day: ProviderDay, key: tuple[str, str], row: Row | None) -> None:
    where = f"{key[0]} {key[1]}"
    if row is None:
        findings.differ("provider-days", f"{where}: no document")
        return
    wanted = "fresh" if day.stale is None else "stale"
    if row["status"] != wanted:
        kind = "stale without cause" if wanted == "fresh" else "provider-days"
        findings.differ(kind, f"{where}: {row['status']} ({row['reason']}), not {wanted}")
        return
    spans = encode_spans(day.spans, 10**9)
    if json.loads(str(row["spans"])) != json.loads(spans):
        findings.differ(
            "provider-days",
            f"{where}: {row['spans']} as of {row['as_of']}, computed at {row['computed_at']}; it must be {spans}",
        )


def _items(findings: Findings, items: dict[ItemKey, Item], store: Store) -> None:
    """Every item is stored in its newest revision: so each of its events was applied, or superseded by a newer one."""
    copies: dict[tuple[str, str, str, str], dict[str, Row]] = {}
    owners: dict[str, Row] = {}
    for row in store.scan(Table.ITEMS):
        if row["sk"] == "owner":
            owners[str(row["pk"])] = row
            continue
        tenant, emr, provider = (decode_part(part) for part in str(row["pk"]).split("#"))
        kind, _, encoded = str(row["sk"]).partition("#")
        copies.setdefault((tenant, emr, kind, decode_part(encoded)), {})[provider] = row
    for key, item in items.items():
        findings.items += 1
        _item(
            findings,
            item,
            copies.pop((key.tenant, key.emr, key.kind, key.id), {}),
            owners.get(key.owner_pk()),
        )
    for tenant, emr, kind, name in sorted(copies):
        findings.differ("items", f"{tenant} {emr} {kind} {name}: stored, and no event names it")


def _item(findings: Findings, item: Item, copies: dict[str, Row], owner: Row | None) -> None:
    where = f"{item.key.tenant} {item.key.emr} {item.key.kind} {item.key.id}"
    wanted = item.revision.encode()
    if owner is None:
        findings.differ("items", f"{where}: no owner record")
    newest = max(
        (str(row["revision"]) for row in [*copies.values(), *([owner] if owner else [])]), default=""
    )
    if newest != wanted:
        findings.differ("items", f"{where}: the newest stored is {newest or 'nothing'}, not {wanted}")
        return
    for provider, row in copies.items():
        live = provider in json.loads(str(row["providers"]))
        if live and provider not in item.providers and row["status"] not in WITHDRAWN:
            findings.differ(
                "items", f"{where}: live under {provider}, who has it no more ({row['revision']})"
            )
    # Who has a withdrawn item depends on what came first where a message names nobody; it counts for nothing anyway.
    for provider in item.providers if item.body.status not in WITHDRAWN else ():
        found = copies.get(provider)
        if found is None or str(found["revision"]) != wanted:
            findings.differ(
                "items", f"{where}: {provider} has {found['revision'] if found else 'nothing'}, not {wanted}"
            )
        elif json.loads(str(found["body"])) != json.loads(item.body.json_text()):
            findings.differ("items", f"{where}: {provider} has another body of revision {wanted}")


def _letters(
    findings: Findings, rejected: list[tuple[Accepted, Rejected]], store: Store, read_blob: ReadBlob
) -> None:
    """Every reject has its letter with reason and raw record, and there is no letter that should not be."""
    # Under ``#`` stand the workers' marks of attempts, which are no letters.
    letters = [row for row in store.scan(Table.DEAD_LETTERS) if not str(row["pk"]).startswith("#")]
    by_place = {(str(row["origin"]), str(row["sequence_number"])): row for row in letters}
    # A copy of which the sender never learnt has a place that the ledger does not know, and the same bytes.
    causes = {(accepted.data, reject.reason) for accepted, reject in rejected}
    for accepted, reject in rejected:
        findings.letters[reject.reason] += 1
        where = f"{accepted.shard} {accepted.sequence_number}"
        row = by_place.get((accepted.shard, accepted.sequence_number))
        if row is None:
            findings.differ(
                "dead letters", f"{where}: no letter; it must be {reject.reason} ({reject.detail})"
            )
        elif row["reason"] != reject.reason or _raw(row, read_blob) != accepted.data:
            same = "with" if _raw(row, read_blob) == accepted.data else "without"
            findings.differ(
                "dead letters", f"{where}: {row['reason']}, {same} its record; not {reject.reason}"
            )
    for row in letters:
        if (_raw(row, read_blob), str(row["reason"])) not in causes:
            findings.differ(
                "dead letters",
                f"{row['origin']} {row['sequence_number']}: {row['reason']} ({row['detail']}) for "
                f"{row['provider'] or row['event_id']}, which should not be there",
            )


def _raw(row: Row, read_blob: ReadBlob) -> bytes | None:
    if row["raw"] is not None:
        return base64.b64decode(str(row["raw"]))
    return read_blob(str(row["raw_key"])) if row["raw_key"] is not None else None
