"""deploy/ecs/data.yaml says what the design promises, under the names that the settings have."""

from __future__ import annotations

from typing import Any

import pytest

from kcl_app.local.local_cloud import read_template
from kcl_app.settings import LocalSettings, StreamSettings, TableSettings

TEMPLATE = read_template(LocalSettings().data_template)
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]
KEY = {"GetAtt": "DataKey.Arn"}
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
    assert stream["StreamEncryption"] == {"EncryptionType": "KMS", "KeyId": KEY}


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
    assert table["SSESpecification"] == {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": KEY}


def test_everything_expires_by_expires_at_but_who_is_known() -> None:
    expiring = {name for name in TABLES if "TimeToLiveSpecification" in properties(name)}
    assert expiring == set(TABLES) - {"ProvidersTable"}
    for name in expiring:
        assert properties(name)["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}


def test_the_bucket_is_private_encrypted_and_empties_itself_after_thirty_days() -> None:
    bucket = properties("DeadLetterBucket")
    rules = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rules[0]["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    expiring, markers = bucket["LifecycleConfiguration"]["Rules"]
    assert expiring["ExpirationInDays"] == 30
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert expiring["NoncurrentVersionExpiration"] == {"NoncurrentDays": 7}, "or nothing would ever go"
    assert markers["ExpiredObjectDeleteMarker"] is True
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


def test_the_key_rotates_and_iam_decides_who_uses_it() -> None:
    key = properties("DataKey")
    assert key["EnableKeyRotation"] is True
    (statement,) = key["KeyPolicy"]["Statement"]
    assert statement["Principal"] == {"AWS": {"Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}}
    assert TEMPLATE["Outputs"]["DataKeyArn"] == {"Value": KEY}


def test_every_table_but_the_one_with_raw_records_is_backed_up_daily_for_as_long_as_recovery_reaches() -> (
    None
):
    selected = {one["GetAtt"] for one in properties("BackupSelection")["BackupSelection"]["Resources"]}
    assert selected == {f"{name}.Arn" for name in set(TABLES) - {"DeadLettersTable"}}
    (rule,) = properties("BackupPlan")["BackupPlan"]["BackupPlanRule"]
    assert default_of(rule["Lifecycle"]["DeleteAfterDays"]) == 35
    assert properties("BackupVault")["EncryptionKeyArn"] == KEY
    backup = {name for name, one in RESOURCES.items() if one.get("Condition") == "BackedUp"}
    assert backup == {"BackupVault", "BackupPlan", "BackupSelection", "BackupRole"}


def test_only_the_local_cloud_is_made_without_backups() -> None:
    """A resource that it does not have is the one thing of the template that it cannot make."""
    assert TEMPLATE["Parameters"]["Backups"]["Default"] == "enabled"
    assert TEMPLATE["Conditions"]["BackedUp"] == {"Equals": [{"Ref": "Backups"}, "enabled"]}


def test_names_and_arns_of_everything_are_outputs() -> None:
    outputs = set(TEMPLATE["Outputs"])
    for name in ("Stream", *TABLES, "DeadLetterBucket"):
        assert {f"{name}Name", f"{name}Arn"} <= outputs
