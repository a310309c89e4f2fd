"""What a user would write first: kclpy's sample with DynamoDB in it, one record after the other.

For each record one conditional UpdateItem, one Query of the provider's items, the same plugin and engine as the
product, one PutItem for each day touched. A checkpoint every so often, as the sample does it. It is not right (an older
worker can overwrite a newer one, and an appointment handed to another provider stays with the first), but it is what it
would cost.
"""

from __future__ import annotations

import os
import time
from datetime import date, timedelta
from typing import Any

from amazon_kclpy.v3.processor import RecordProcessorBase

from benchmarks.children import gate
from benchmarks.children.serving import serve
from benchmarks.stores import NULL_STORE, NullDynamoDB
from emr_plugins.host import PluginHost
from kcl_app import logs, wiring
from kcl_app.metrics import WorkerMetrics
from kcl_app.settings import Settings
from processors.calendars import Calendar
from processors.decoding import Decoded, decode
from processors.envelope import Record
from processors.impacts import Change, days_touched
from processors.items import Item, body_from_json
from processors.keys import ItemKey, ProviderKey, decode_part
from processors.revisions import Revision
from processors.spans import encode_spans

CHECKPOINT_SECONDS = 60.0
"""As in kclpy's sample."""


def item_of(key: ProviderKey, row: dict[str, Any]) -> Item:
    """A row of the items table as an item."""
    kind, _, encoded = row["sk"]["S"].partition("#")
    return Item(
        ItemKey(key.tenant, key.emr, kind, decode_part(encoded)),
        (key.provider,),
        Revision.decode(row["revision"]["S"]),
        body_from_json(kind, row["body"]["S"]),
    )


def update_of(table: str, provider: ProviderKey, item: Item) -> dict[str, Any]:
    """The UpdateItem request that writes an item, unless a newer one is there."""
    return {
        "TableName": table,
        "Key": {"pk": {"S": provider.pk()}, "sk": {"S": item.key.sk()}},
        "UpdateExpression": "SET #r = :r, #b = :b, #s = :s",
        "ConditionExpression": "attribute_not_exists(#r) OR #r < :r",
        "ExpressionAttributeNames": {"#r": "revision", "#b": "body", "#s": "status"},
        "ExpressionAttributeValues": {
            ":r": {"S": item.revision.encode()},
            ":b": {"S": item.body.json_text()},
            ":s": {"S": item.body.status},
        },
        "ReturnValues": "ALL_OLD",
    }


class NaiveProcessor:
    """Upserts an item and recomputes its days, one event at a time.

    Args:
        client: boto3's, of DynamoDB.
        host: the plugins.
        settings: tables, horizon, limits.
    """

    def __init__(self, client: Any, host: PluginHost, settings: Settings) -> None:
        self._client, self._host = client, host
        self._items, self._spans = settings.tables.items, settings.tables.spans
        self._limits = settings.limits.limits()
        self._clock = wiring.clock(settings)
        self._days = settings.horizon.days

    def process(self, data: bytes, sequence_number: str) -> None:
        """One record."""
        one = decode(Record(data, sequence_number), self._host.decode, self._limits)
        if not isinstance(one, Decoded):
            return
        for item in one.items:
            for name in item.providers:
                self._upsert(ProviderKey(item.key.tenant, item.key.emr, name), item)

    def _upsert(self, provider: ProviderKey, item: Item) -> None:
        try:
            answer = self._client.update_item(**update_of(self._items, provider, item))
        except self._client.exceptions.ConditionalCheckFailedException:
            return
        before = answer.get("Attributes", {})
        # Emulators differ in whether they name the key of an item that was not there.
        old = item_of(provider, {**before, "sk": {"S": item.key.sk()}}) if "revision" in before else None
        calendar = Calendar(self._query(provider))
        zone = calendar.zone(self._host.zone(provider.tenant))
        today = self._clock.today(zone)
        impact = self._host.impact(provider, lambda: zone, Change(old, item))
        for day in days_touched(impact, zone, today, today + timedelta(days=self._days - 1)):
            self._recompute(provider, calendar, zone, day)

    def _query(self, provider: ProviderKey) -> list[Item]:
        request: dict[str, Any] = {
            "TableName": self._items,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": provider.pk()}},
            "ConsistentRead": True,
        }
        items: list[Item] = []
        while True:
            answer = self._client.query(**request)
            items += [item_of(provider, row) for row in answer["Items"]]
            if "LastEvaluatedKey" not in answer:
                return items
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _recompute(self, provider: ProviderKey, calendar: Calendar, zone: str, day: date) -> None:
        items = calendar.on(day, zone)
        spans = self._host.spans(provider, zone, day, items)
        self._client.put_item(
            TableName=self._spans,
            Item={
                "pk": {"S": provider.pk()},
                "sk": {"S": day.isoformat()},
                "spans": {"S": encode_spans(spans, self._limits.document_bytes)},
                "as_of": {"S": max((item.revision.time for item in items), default="")},
                "status": {"S": "fresh"},
                "computed_at": {"S": self._clock.now().isoformat()},
            },
        )


class Naive(RecordProcessorBase):  # type: ignore[misc] # kclpy has no types
    """The sample's loop round `NaiveProcessor`."""

    def __init__(self, settings: Settings, metrics: WorkerMetrics) -> None:
        client = NullDynamoDB() if os.environ.get(NULL_STORE) else wiring.dynamodb(settings)
        self._processor = NaiveProcessor(client, wiring.plugin_host(settings), settings)
        self._metrics = metrics
        self._shard = ""
        self._largest: tuple[str, int] | None = None
        self._checkpointed = time.monotonic()

    def initialize(self, initialize_input: Any) -> None:
        self._shard = initialize_input.shard_id
        gate.wait()

    def process_records(self, process_records_input: Any) -> None:
        for record in process_records_input.records:
            try:
                self._processor.process(record.binary_data, record.sequence_number)
            except Exception:  # kclpy would go on, and nothing would be measured
                logs.get_logger().error("the naive side failed", exc_info=True)
                raise SystemExit(os.EX_SOFTWARE) from None
            self._largest = (record.sequence_number, record.sub_sequence_number or 0)
            self._metrics.records.labels(self._shard).inc()
        if time.monotonic() - self._checkpointed > CHECKPOINT_SECONDS:
            self._checkpoint(process_records_input.checkpointer)

    def _checkpoint(self, checkpointer: Any) -> None:
        if self._largest is not None:
            checkpointer.checkpoint(*self._largest)
        self._checkpointed = time.monotonic()

    def lease_lost(self, _lease_lost_input: Any) -> None:
        pass

    def shard_ended(self, shard_ended_input: Any) -> None:
        shard_ended_input.checkpointer.checkpoint()

    def shutdown_requested(self, shutdown_requested_input: Any) -> None:
        self._checkpoint(shutdown_requested_input.checkpointer)


def rows_of(events: list[bytes], settings: Settings) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of the items table that these events leave: what was there before the measuring.

    Args:
        events: the data of records, in order.
        settings: the plugins' and tenants'.

    Raises:
        ValueError: one of them is none that the plugins understand.
    """
    host, limits = wiring.plugin_host(settings), settings.limits.limits()
    newest: dict[tuple[str, str], Item] = {}
    for number, data in enumerate(events):
        one = decode(Record(data, str(number)), host.decode, limits)
        if not isinstance(one, Decoded):
            raise ValueError(f"the load has an event that is rejected: {one.detail}")
        for item in one.items:
            for name in item.providers:
                place = ProviderKey(item.key.tenant, item.key.emr, name).pk(), item.key.sk()
                if place not in newest or newest[place].revision < item.revision:
                    newest[place] = item
    return {
        (pk, sk): {
            "pk": {"S": pk},
            "sk": {"S": sk},
            "revision": {"S": item.revision.encode()},
            "body": {"S": item.body.json_text()},
            "status": {"S": item.body.status},
        }
        for (pk, sk), item in newest.items()
    }


if __name__ == "__main__":
    serve(Naive)
