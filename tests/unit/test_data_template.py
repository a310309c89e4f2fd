"""deploy/ecs/data.yaml says what the design promises, under the names that the settings have."""

from __future__ import annotations

from typing import Any

import pytest

from kcl_app.local.local_cloud import read_template
from kcl_app.settings import LocalSettings, StreamSettings, TableSettings

TEMPLATE = read_template(LocalSettings().data_template)
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]
TABLES = {
    "ItemsTable": "items",
    "SpansTable": "spans",
    "ProvidersTable": "providers",
    "DeadLettersTable": "dead_letters",
}


def properties(resource: str) -> dict[str, Any]:
    found: dict[str, Any] = RESOURCES[resource]["Properties"]
    return found


def default_of(reference: dict[str, str]) -> Any:
    """The default of the parameter that a ``!Ref`` names."""
    return TEMPLATE["Parameters"][reference["Ref"]]["Default"]


def test_the_stream_has_the_settings_name_and_keeps_events_seven_days_encrypted() -> None:
    stream = properties("EventStream")
    assert default_of(stream["Name"]) == StreamSettings().name
    assert default_of(stream["ShardCount"]) == 4
    assert default_of(stream["RetentionPeriodHours"]) == 7 * 24
    assert TEMPLATE["Parameters"]["RetentionPeriodHours"]["MinValue"] == 7 * 24
    assert stream["StreamEncryption"] == {"EncryptionType": "KMS", "KeyId": "alias/aws/kinesis"}


@pytest.mark.parametrize(("resource", "setting"), TABLES.items())
def test_tables_have_the_settings_names_string_keys_backups_and_encryption(
    resource: str, setting: str
) -> None:
    table = properties(resource)
    assert default_of(table["TableName"]) == getattr(TableSettings(), setting)
    assert {a["AttributeName"]: a["AttributeType"] for a in table["AttributeDefinitions"]} == {
        "pk": "S",
        "sk": "S",
    }
    assert [(k["AttributeName"], k["KeyType"]) for k in table["KeySchema"]] == [
        ("pk", "HASH"),
        ("sk", "RANGE"),
    ]
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["SSESpecification"] == {"SSEEnabled": True, "SSEType": "KMS"}


def test_everything_expires_by_expires_at_but_who_is_known() -> None:
    expiring = {name for name in TABLES if "TimeToLiveSpecification" in properties(name)}
    assert expiring == set(TABLES) - {"ProvidersTable"}
    for name in expiring:
        assert properties(name)["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}


def test_the_bucket_is_private_encrypted_and_empties_itself_after_thirty_days() -> None:
    bucket = properties("DeadLetterBucket")
    rules = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rules[0]["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert bucket["LifecycleConfiguration"]["Rules"][0]["ExpirationInDays"] == 30
    (statement,) = properties("DeadLetterBucketPolicy")["PolicyDocument"]["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_the_bucket_name_is_unique_on_aws_unless_it_is_given() -> None:
    condition, given, otherwise = properties("DeadLetterBucket")["BucketName"]["If"]
    assert condition == "BucketIsNamed"
    assert default_of(given) == ""
    assert otherwise == {"Sub": "scheduling-dead-letters-${AWS::AccountId}-${AWS::Region}"}


def test_deleting_the_stack_deletes_no_data() -> None:
    for name, resource in RESOURCES.items():
        assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain"), name


def test_names_and_arns_of_everything_are_outputs() -> None:
    outputs = set(TEMPLATE["Outputs"])
    for name in ("Stream", *TABLES, "DeadLetterBucket"):
        assert {f"{name}Name", f"{name}Arn"} <= outputs
