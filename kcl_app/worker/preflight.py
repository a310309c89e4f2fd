"""Looks, before a worker starts and while it runs, whether what it needs is there, and says in one line what is not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    TokenRetrievalError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)

from kcl_app import wiring
from kcl_app.errors import PreflightError
from kcl_app.settings import Settings
from kcl_app.worker.lease_look import LeaseLook

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TableDescriptionTypeDef
    from mypy_boto3_kinesis.type_defs import StreamDescriptionSummaryTypeDef

Answer = TypeVar("Answer")

_BAD_CREDENTIALS = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
DENIED = frozenset({"403", "AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
_MISSING = frozenset({"ResourceNotFoundException", "NoSuchBucket", "404"})
_USABLE = frozenset({"ACTIVE", "UPDATING"})


class Preflight:
    """Looks for the stream, the tables and the bucket, as often as wanted.

    Args:
        settings: their names, the region and the endpoint. Each call takes at most the timeouts set there.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kinesis = wiring.kinesis(settings)
        self._dynamodb = wiring.dynamodb(settings)
        self._s3 = wiring.s3(settings)
        self._leases = LeaseLook(
            wiring.kcl_dynamodb(settings),
            settings.stream.application,
            settings.stream.failover_milliseconds / 1000,
        )
        self.retention_seconds: float | None = None
        """How long the stream keeps a record, at the last look; None before the first."""
        self.open_shards: int | None = None
        """Open shards of the stream, at the last look."""
        self.leases_unowned: int | None = None
        """Shards that could be read and that no worker holds, at the last look; None where that cannot be told."""

    def look(self) -> None:
        """As `check`, and at the leases."""
        self.check()
        try:
            self.leases_unowned = self._leases.look()
        except (BotoCoreError, ClientError):
            self.leases_unowned = None

    def check(self) -> None:
        """One look.

        Raises:
            PreflightError: one of them is missing or not ready, or AWS cannot be asked.
        """
        summary = self.stream()
        self.retention_seconds = summary["RetentionPeriodHours"] * 3600.0
        self.open_shards = summary["OpenShardCount"]
        tables = self._settings.tables
        for table in (tables.items, tables.spans, tables.providers, tables.dead_letters):
            self.table(table)
        self.bucket()

    def stream(self) -> StreamDescriptionSummaryTypeDef:
        """What the stream says of itself; raises as `check`."""
        settings, name = self._settings, self._settings.stream.name
        call = partial(self._kinesis.describe_stream_summary, StreamName=name)
        found = ask(settings, f"stream {name}", call)["StreamDescriptionSummary"]
        _usable(settings, f"stream {name}", found["StreamStatus"])
        return found

    def table(self, name: str) -> TableDescriptionTypeDef:
        """What a table says of itself; raises as `check`."""
        settings = self._settings
        call = partial(self._dynamodb.describe_table, TableName=name)
        found = ask(settings, f"table {name}", call)["Table"]
        _usable(settings, f"table {name}", found.get("TableStatus", "unknown"))
        return found

    def bucket(self) -> None:
        """That there is a bucket; raises as `check`."""
        bucket = self._settings.tables.dead_letter_bucket
        ask(self._settings, f"bucket {bucket}", partial(self._s3.head_bucket, Bucket=bucket))


def check(settings: Settings) -> None:
    """One look, before anything else. See `Preflight`.

    Raises:
        PreflightError: something is missing or not ready, or AWS cannot be asked.
    """
    try:
        preflight = Preflight(settings)
    except BotoCoreError as error:  # a profile that is not there, a broken file of credentials
        why = " ".join(str(error).split())
        raise PreflightError(f"the AWS configuration cannot be used: {why}") from None
    preflight.check()


def ask(settings: Settings, what: str, call: Callable[[], Answer]) -> Answer:
    """What a call answers.

    Args:
        settings: where it goes.
        what: is asked about, for a person.
        call: a client's method with its arguments.

    Raises:
        PreflightError: it failed; says why, and what to do.
    """
    where = where_of(settings)
    try:
        return call()
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        operation = error.operation_name
        if code in _MISSING:
            raise PreflightError(
                f"there is no {what} in {where}", how_to_make(settings), hopeless=True, kind="missing"
            ) from None
        if code in _BAD_CREDENTIALS:
            raise PreflightError(
                f"AWS refuses the credentials ({code}) for {where}",
                "check the role, profile or keys",
                hopeless=True,
                kind="credentials",
            ) from None
        if code in DENIED:
            raise PreflightError(
                f"the credentials may not call {operation} on {what} in {where}",
                "allow it in their IAM policy",
                kind="denied",
            ) from None
        raise PreflightError(f"{operation} of {what} in {where} failed: {code}") from None
    except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, TokenRetrievalError):
        raise PreflightError(
            f"no AWS credentials for {where}",
            "give the task a role, or set AWS_PROFILE or the AWS_* keys",
            kind="credentials",
        ) from None
    except (BotoConnectionError, HTTPClientError) as error:
        hint = (
            "start it with `kcl-app local start`, or correct aws.endpoint_url"
            if settings.aws.endpoint_url is not None
            else "check aws.region and the network"
        )
        raise PreflightError(
            f"cannot reach {where} ({type(error).__name__})", hint, kind="unreachable"
        ) from None
    except BotoCoreError as error:
        raise PreflightError(f"cannot ask {where} for {what}: {type(error).__name__}") from None


def _usable(settings: Settings, what: str, status: str) -> None:
    if status == "DELETING":
        raise PreflightError(
            f"the {what} in {where_of(settings)} is being deleted",
            how_to_make(settings),
            hopeless=True,
            kind="missing",
        )
    if status not in _USABLE:
        raise PreflightError(
            f"the {what} in {where_of(settings)} is {status}", "wait until it is ACTIVE", kind="not ready"
        )


def where_of(settings: Settings) -> str:
    """Where AWS is, for a person."""
    if settings.aws.endpoint_url is not None:
        return f"the local cloud at {settings.aws.endpoint_url}, region {settings.aws.region}"
    return f"AWS {settings.aws.region}"


def how_to_make(settings: Settings) -> str:
    """What makes stream, tables and bucket."""
    if settings.aws.endpoint_url is not None:
        return "make it with `kcl-app local start`"
    return "deploy deploy/ecs/data.yaml, or correct its name in the settings"
