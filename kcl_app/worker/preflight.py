"""Looks, before a worker starts and while it runs, whether what it needs is there, and says in one line what is not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

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
from kcl_app.settings import Settings
from kcl_app.worker.lease_look import LeaseLook

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
_DENIED = frozenset({"403", "AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
_MISSING = frozenset({"ResourceNotFoundException", "NoSuchBucket", "404"})
_USABLE = frozenset({"ACTIVE", "UPDATING"})


class PreflightError(Exception):
    """Something is missing or wrong; the message says what, where and what to do, in one line.

    Args:
        message: that line.
        hopeless: whether the worker surely cannot work: what it needs is gone, or its credentials are refused.
    """

    def __init__(self, message: str, *, hopeless: bool = False) -> None:
        super().__init__(message)
        self.hopeless = hopeless


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
        settings, name = self._settings, self._settings.stream.name
        ask = partial(self._kinesis.describe_stream_summary, StreamName=name)
        stream = _ask(settings, f"stream {name}", ask)
        summary = stream["StreamDescriptionSummary"]
        _usable(settings, f"stream {name}", summary["StreamStatus"])
        self.retention_seconds = summary["RetentionPeriodHours"] * 3600.0
        self.open_shards = summary["OpenShardCount"]
        tables = settings.tables
        for table in (tables.items, tables.spans, tables.providers, tables.dead_letters):
            described = _ask(
                settings, f"table {table}", partial(self._dynamodb.describe_table, TableName=table)
            )
            _usable(settings, f"table {table}", described["Table"]["TableStatus"])
        bucket = tables.dead_letter_bucket
        _ask(settings, f"bucket {bucket}", partial(self._s3.head_bucket, Bucket=bucket))


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


def _ask(settings: Settings, what: str, call: Callable[[], Any]) -> Any:
    where = _where(settings)
    try:
        return call()
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        operation = error.operation_name
        if code in _MISSING:
            raise PreflightError(
                f"there is no {what} in {where}; {_how_to_make(settings)}", hopeless=True
            ) from None
        if code in _BAD_CREDENTIALS:
            raise PreflightError(
                f"AWS refuses the credentials ({code}) for {where}; check the role, profile or keys",
                hopeless=True,
            ) from None
        if code in _DENIED:
            raise PreflightError(
                f"the credentials may not call {operation} on {what} in {where}; allow it in their IAM policy"
            ) from None
        raise PreflightError(f"{operation} of {what} in {where} failed: {code}") from None
    except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, TokenRetrievalError):
        raise PreflightError(
            f"no AWS credentials for {where}; give the task a role, or set AWS_PROFILE or the AWS_* keys"
        ) from None
    except (BotoConnectionError, HTTPClientError) as error:
        hint = (
            "start it with `kcl-app local start`, or correct aws.endpoint_url"
            if settings.aws.endpoint_url is not None
            else "check aws.region and the network"
        )
        raise PreflightError(f"cannot reach {where} ({type(error).__name__}); {hint}") from None
    except BotoCoreError as error:
        raise PreflightError(f"cannot ask {where} for {what}: {type(error).__name__}") from None


def _usable(settings: Settings, what: str, status: str) -> None:
    if status == "DELETING":
        raise PreflightError(
            f"the {what} in {_where(settings)} is being deleted; {_how_to_make(settings)}", hopeless=True
        )
    if status not in _USABLE:
        raise PreflightError(f"the {what} in {_where(settings)} is {status}; wait until it is ACTIVE")


def _where(settings: Settings) -> str:
    if settings.aws.endpoint_url is not None:
        return f"the local cloud at {settings.aws.endpoint_url}, region {settings.aws.region}"
    return f"AWS {settings.aws.region}"


def _how_to_make(settings: Settings) -> str:
    if settings.aws.endpoint_url is not None:
        return "make it with `kcl-app local start`"
    return "deploy deploy/ecs/data.yaml, or correct its name in the settings"
