"""Raw records rest in two places, both encrypted with KMS, both emptied after thirty days, and nowhere else."""

from __future__ import annotations

import json
from typing import Any

from canaries import NAME, found_in, raw_records
from pipeline_in_memory import ENVELOPE, Pipeline, host

from kcl_app.engine.dead_letters import MAX_INLINE_BYTES, RETENTION_SECONDS
from kcl_app.local.local_cloud import read_template
from kcl_app.settings import LocalSettings
from kcl_app.stores.base import Table

RESOURCES: dict[str, Any] = read_template(LocalSettings().data_template)["Resources"]
DAY = 86_400


def properties(name: str) -> dict[str, Any]:
    found: dict[str, Any] = RESOURCES[name]["Properties"]
    return found


def test_every_table_bucket_and_stream_is_encrypted_with_kms() -> None:
    kinds = {name: resource["Type"] for name, resource in RESOURCES.items()}
    tables = [name for name, kind in kinds.items() if kind == "AWS::DynamoDB::Table"]
    assert "DeadLettersTable" in tables
    for name in tables:
        assert properties(name)["SSESpecification"] == {
            "SSEEnabled": True,
            "SSEType": "KMS",
            "KMSMasterKeyId": {"GetAtt": "DataKey.Arn"},
        }, name
    for name in [name for name, kind in kinds.items() if kind == "AWS::S3::Bucket"]:
        (rule,) = properties(name)["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms", name
    for name in [name for name, kind in kinds.items() if kind == "AWS::Kinesis::Stream"]:
        assert properties(name)["StreamEncryption"]["EncryptionType"] == "KMS", name


def test_raw_records_go_after_thirty_days_in_both_places_and_the_buckets_old_versions_a_week_later() -> None:
    assert RETENTION_SECONDS == 30 * DAY
    assert properties("DeadLettersTable")["TimeToLiveSpecification"] == {
        "AttributeName": "expires_at",
        "Enabled": True,
    }
    rules = properties("DeadLetterBucket")["LifecycleConfiguration"]["Rules"]
    assert {rule["Status"] for rule in rules} == {"Enabled"}
    (ends,) = [rule for rule in rules if "ExpirationInDays" in rule]
    # A version would stay, else.
    assert (ends["ExpirationInDays"], ends["NoncurrentVersionExpiration"]) == (30, {"NoncurrentDays": 7})
    assert "Prefix" not in ends
    assert "TagFilters" not in ends


def test_a_raw_record_is_in_one_attribute_or_in_one_object() -> None:
    pipeline = Pipeline(host())
    small = json.dumps({**ENVELOPE, "type": "slot", "data": {"note": NAME}}).encode()
    large = json.dumps({**ENVELOPE, "type": "slot", "data": {"note": [NAME] * 20_000}}).encode()
    assert len(large) > MAX_INLINE_BYTES * 3 // 4
    pipeline.run([small, large])
    letters = [row for row in pipeline.store.scan(Table.DEAD_LETTERS) if row.get("reason")]
    assert sorted((row["raw"] is None, row["raw_key"] is None) for row in letters) == [
        (False, True),
        (True, False),
    ]
    assert list(pipeline.blobs.blobs.values()) == [large]
    assert found_in(raw_records(pipeline.store)) != []
    for table in set(Table) - {Table.DEAD_LETTERS}:
        assert list(pipeline.store.scan(table)) == []
    assert all(isinstance(row["expires_at"], int) for row in letters)
