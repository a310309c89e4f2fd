"""What `kcl-app doctor` says of what it finds: canned answers of AWS, of Java and of the machine."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from kcl_app.doctor import cloud, machine, permissions, worker
from kcl_app.doctor.checks import Check, State, failed, healthy, made, ok, summary, warning
from kcl_app.doctor.needs import NOT_TRIED, ROLES, WORKER, Need, On, Role
from kcl_app.doctor.permissions import Denied
from kcl_app.doctor.probes import Probe, probes
from kcl_app.errors import PreflightError
from kcl_app.settings import Settings, load

LOCAL = load()
AWS = Settings.model_validate(
    {
        "environment": "production",
        "aws": {"region": "eu-west-1"},
        "tables": {"dead_letter_bucket": "letters-1"},
    }
)
GB = 1024**3
STREAM = {
    "StreamStatus": "ACTIVE",
    "OpenShardCount": 8,
    "RetentionPeriodHours": 168,
    "EncryptionType": "KMS",
    "StreamModeDetails": {"StreamMode": "PROVISIONED"},
}
TABLE: dict[str, Any] = {
    "TableStatus": "ACTIVE",
    "KeySchema": [
        {"AttributeName": "pk", "KeyType": "HASH"},
        {"AttributeName": "sk", "KeyType": "RANGE"},
    ],
    "AttributeDefinitions": [
        {"AttributeName": "pk", "AttributeType": "S"},
        {"AttributeName": "sk", "AttributeType": "S"},
    ],
    "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
}


def items() -> Need:
    (need,) = [one for one in WORKER.needs if one.on is On.ITEMS]
    return need


def refused(code: str, message: str = "") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "Query")


def test_a_stream_as_deployed_is_ok() -> None:
    (check,) = cloud.stream_of(AWS, STREAM)
    assert (check.state, check.found) == (
        State.OK,
        "ACTIVE, 8 open shards (PROVISIONED), keeps 168 h, encrypted",
    )


@pytest.mark.parametrize(
    ("over", "name", "mend"),
    [
        (
            {"RetentionPeriodHours": 24},
            "retention",
            "aws kinesis increase-stream-retention-period --stream-name scheduling-event-stream "
            "--region eu-west-1 --retention-period-hours 168",
        ),
        (
            {"EncryptionType": "NONE"},
            "encryption",
            "aws kinesis start-stream-encryption --stream-name scheduling-event-stream --region eu-west-1 "
            "--encryption-type KMS --key-id alias/aws/kinesis",
        ),
    ],
)
def test_a_stream_that_would_lose_or_show_data_is_a_warning_with_the_command(
    over: dict[str, Any], name: str, mend: str
) -> None:
    _, check = cloud.stream_of(AWS, {**STREAM, **over})
    assert (check.name, check.state, check.mend) == (
        f"stream scheduling-event-stream: {name}",
        State.WARNING,
        mend,
    )
    # The local cloud neither encrypts nor keeps anything that matters.
    assert [one.state for one in cloud.stream_of(LOCAL, {**STREAM, **over})] == [State.OK]


def test_a_table_with_other_keys_has_failed_and_one_that_throttles_is_a_warning() -> None:
    assert [one.state for one in cloud.table_of(AWS, "t", TABLE)] == [State.OK]
    other = {**TABLE, "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}]}
    (check,) = cloud.table_of(AWS, "t", other)
    assert check.state is State.FAILED
    assert "its key is id (HASH, ?)" in check.found
    number = [{"AttributeName": name, "AttributeType": "N"} for name in ("pk", "sk")]
    (check,) = cloud.table_of(AWS, "t", {**TABLE, "AttributeDefinitions": number})
    assert check.state is State.FAILED
    provisioned = {**TABLE, "BillingModeSummary": {}, "ProvisionedThroughput": {"WriteCapacityUnits": 5}}
    first, second = cloud.table_of(AWS, "t", provisioned)
    assert (first.state, second.state) == (State.WARNING, State.OK)
    assert first.mend == (
        "aws dynamodb update-table --table-name t --billing-mode PAY_PER_REQUEST --region eu-west-1"
    )


def test_rows_that_never_expire_and_tables_without_backup_are_warnings() -> None:
    assert not list(cloud.ttl_of(AWS, "t", {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at"}))
    for told in ({"TimeToLiveStatus": "DISABLED"}, {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"}):
        (check,) = cloud.ttl_of(AWS, "t", told)
        assert check.state is State.WARNING
        assert "update-time-to-live --table-name t" in check.mend
    on = {"PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": "ENABLED"}}
    assert not list(cloud.backups_of(AWS, "t", on))
    (check,) = cloud.backups_of(AWS, "t", {})
    assert "update-continuous-backups --table-name t" in check.mend


@pytest.mark.parametrize(
    ("told", "before", "after", "state"),
    [
        (1000, 1000.2, 1000.4, State.OK),
        (1000, 1000.9, 1003.0, State.OK),  # a slow answer is no wrong clock
        (1000, 1045.0, 1045.2, State.WARNING),
        (1000, 940.0, 940.2, State.WARNING),
        (1000, 1300.0, 1300.1, State.FAILED),
        (1000, 600.0, 600.1, State.FAILED),
    ],
)
def test_a_clock_is_judged_by_how_far_it_is_off(
    told: float, before: float, after: float, state: State
) -> None:
    assert cloud.clock_of(told, before, after).state is state


def test_what_is_denied_is_named_with_its_resource_and_the_statement_that_is_missing() -> None:
    arn = "arn:aws:dynamodb:eu-west-1:1:table/scheduling-items"
    message = (
        f"User: arn:aws:sts::1:assumed-role/worker/x is not authorized to perform: dynamodb:Query on resource: {arn} "
        "because no identity-based policy allows the dynamodb:Query action"
    )

    def deny() -> None:
        raise refused("AccessDeniedException", message)

    tries = [Probe("dynamodb:Query", deny), Probe("dynamodb:PutItem", lambda: None)]
    (check,) = permissions.check(WORKER, items(), tries, AWS)
    assert check.state is State.FAILED
    assert check.found == (
        f"denied: dynamodb:Query on {arn} (no identity-based policy allows the dynamodb:Query action)"
    )
    assert check.mend == (
        "add dynamodb:Query to statement Items of WorkerRole in deploy/ecs/service.yaml; in another policy: "
        f'{{"Effect": "Allow", "Action": ["dynamodb:Query"], "Resource": ["{arn}"]}}'
    )


def test_what_to_add_is_the_keys_statement_where_the_key_is_denied_and_nothing_where_a_deny_stands_against_it() -> (
    None
):
    denied = [Denied("dynamodb:Query", "arn:t"), Denied("kms:Decrypt", "arn:k")]
    told = permissions.mended(WORKER, items(), denied, AWS)
    assert told.startswith(
        "add dynamodb:Query to statement Items and kms:Decrypt to statement DataKey of WorkerRole"
    )
    why = "an explicit deny in a service control policy"
    assert permissions.mended(WORKER, items(), [Denied("dynamodb:Query", "arn:t", why)], AWS) == (
        "take the explicit deny away, or its condition: no Allow goes over it"
    )
    # S3 says no more than 403 to some.
    (objects,) = [one for one in WORKER.needs if one.on is On.OBJECTS]
    assert '"Resource": ["arn:aws:s3:::letters-1/*"]' in permissions.statement(
        [Denied("s3:PutObject", "objects of bucket letters-1")], objects, AWS
    )


@pytest.mark.parametrize("role", ROLES.values(), ids=ROLES)
def test_each_action_of_a_role_is_tried_or_named_with_what_trying_would_change(role: Role) -> None:
    clients = cloud.clients(LOCAL)
    tries = {(need.on, probe.action) for need in role.needs for probe in probes(need, LOCAL, clients)}
    wanted = {(need.on, action) for need in role.needs for action in need.actions}
    untried = {one for one in wanted if one[1] in NOT_TRIED}
    assert tries == wanted - untried
    told = "".join(one.found for one in permissions.not_tried(role))
    assert all(action in told for _, action in untried)


def test_tables_that_the_kcl_has_yet_to_make_are_not_checked_and_others_that_are_not_there_have_failed() -> (
    None
):
    def gone() -> None:
        raise refused("ResourceNotFoundException")

    (leases,) = [one for one in WORKER.needs if one.on is On.LEASES]
    (check,) = permissions.check(WORKER, leases, [Probe("dynamodb:Scan", gone)], AWS)
    assert (check.state, check.found) == (State.SKIPPED, "it is not there yet: the first worker makes it")
    (check,) = permissions.check(WORKER, items(), [Probe("dynamodb:Query", gone)], AWS)
    assert (check.state, check.found) == (State.FAILED, "there is no table scheduling-items in AWS eu-west-1")


def test_a_key_that_may_not_be_used_is_named_as_aws_names_it() -> None:
    message = (
        "User: arn:aws:iam::1:user/u is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:k"
    )
    error = refused("AccessDeniedException", message)
    assert permissions.denied_by(error, "kinesis:GetRecords", "stream s") == Denied(
        "kms:Decrypt", "arn:aws:kms:k"
    )
    assert permissions.denied_by(refused("403"), "s3:PutObject", "bucket b") == Denied(
        "s3:PutObject", "bucket b"
    )
    assert permissions.denied_by(refused("ThrottlingException"), "a", "b") is None


@pytest.mark.parametrize(
    "code", ["ConditionalCheckFailedException", "TransactionCanceledException", "BadDigest"]
)
def test_a_condition_that_cannot_hold_says_that_the_write_is_allowed(code: str) -> None:
    def answer() -> None:
        raise refused(code)

    (check,) = permissions.check(WORKER, items(), [Probe("dynamodb:PutItem", answer)], AWS)
    assert (check.state, check.found) == (State.OK, "dynamodb:PutItem")


def test_an_action_that_cannot_be_tried_is_not_called_allowed() -> None:
    def answer() -> None:
        raise EndpointConnectionError(endpoint_url="https://x")

    (check,) = permissions.check(WORKER, items(), [Probe("dynamodb:PutItem", answer)], AWS)
    assert check.state is State.FAILED
    assert check.found.startswith("dynamodb:PutItem could not be tried: cannot reach AWS eu-west-1")


JAVA = "    java.version = 25.0.2\n    os.arch = amd64\n"


@pytest.mark.parametrize(
    ("status", "said", "state"),
    [
        (0, JAVA, State.OK),
        (0, JAVA.replace("25.0.2", "1.8.0_402"), State.OK),
        (0, JAVA.replace("25.0.2", "17-ea"), State.OK),
        (0, JAVA.replace("25.0.2", "1.7.0_80"), State.FAILED),
        (0, JAVA.replace("amd64", "aarch64"), State.WARNING),
        (1, "Error: could not find libjava.so", State.FAILED),
        (0, "", State.FAILED),
    ],
)
def test_java_is_judged_by_what_it_says_of_itself(status: int, said: str, state: State) -> None:
    assert machine.java_of(status, said, "/java", "x86_64").state is state


def test_a_java_home_without_java_is_a_failed_check(tmp_path: Path) -> None:
    (check,) = machine.java(str(tmp_path))
    assert check.state is State.FAILED
    assert str(tmp_path) in check.found


def test_python_jars_disk_memory_and_limits() -> None:
    assert machine.python((3, 10, 1)).state is State.FAILED
    assert machine.python().state is State.OK
    assert machine.jars().found.endswith("amazon-kinesis-client-multilang-3.1.3")
    assert machine.disk_of("/tmp", 10 * GB, 8).state is State.OK
    assert machine.disk_of("/tmp", 100 * 1024**2, 8).state is State.WARNING
    assert machine.disk_of("/tmp", 10 * 1024**2, 8).state is State.FAILED
    options = ("-XX:+UseSerialGC", "-Xmx512m")
    assert machine.heap_of(options, 8 * GB) == 512 * 1024**2
    assert machine.heap_of((), 8 * GB) == 2 * GB
    assert machine.memory_of(4 * GB, options, 8).state is State.OK
    assert machine.memory_of(1 * GB, options, 8).state is State.WARNING
    assert machine.limits_of(1024, 524_288).mend == "ulimit -n 4096"
    assert machine.limits_of(1024, 1024).mend == "raise nofile to 4096 for this user"
    assert machine.limits_of(-1, -1).state is State.OK


def test_the_ports_answer_tells_a_worker_from_anything_else() -> None:
    url = "http://127.0.0.1:9464"
    assert worker.answered(url, 200, b'{"status": "ready"}').state is State.OK
    check = worker.answered(url, 503, b'{"status": "not ready", "why": ["stores do not answer s1"]}')
    assert (check.state, check.found) == (
        State.WARNING,
        f"answers at {url}: not ready: stores do not answer s1",
    )
    assert worker.answered(url, 200, b"<html>").state is State.FAILED
    assert worker.answered(url, 200, b"[]").state is State.FAILED


def test_a_port_that_somebody_else_has_is_a_failed_check() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))  # bound, and answering nobody
        port = other.getsockname()[1]
        settings = LOCAL.model_copy(update={"worker": LOCAL.worker.model_copy(update={"port": port})})
        (check,) = worker.worker(settings)
        assert check.state is State.FAILED
        assert f"ss -ltnp 'sport = :{port}'" in check.mend
    (check,) = worker.worker(settings)
    assert check.found == f"none runs here; 127.0.0.1 port {port} is free"


def test_a_check_that_breaks_is_told_as_not_checked_and_never_raises() -> None:
    def broken() -> Iterator[Check]:
        yield ok("first", "fine")
        raise RuntimeError("this\nis odd")

    def gone() -> Iterator[Check]:
        raise PreflightError("there is no table t", "make it", kind="missing")
        yield

    def denied() -> Iterator[Check]:
        raise PreflightError("the credentials may not call DescribeTable", "allow it", kind="denied")
        yield

    assert list(made("second", broken)) == [
        ok("first", "fine"),
        Check("second", State.SKIPPED, "could not be checked: RuntimeError: this is odd"),
    ]
    assert list(made("t", gone)) == [Check("t", State.FAILED, "there is no table t", "make it")]
    assert next(made("t", denied)).state is State.FAILED, "a worker asks that as well"


def test_only_what_has_failed_makes_an_installation_ill() -> None:
    checks = [ok("a", ""), warning("b", "", ""), warning("c", "", ""), Check("d", State.SKIPPED, "")]
    assert healthy(checks)
    assert summary(checks) == "2 warnings, 1 not checked, 1 ok"
    assert not healthy([*checks, failed("e", "", "")])
