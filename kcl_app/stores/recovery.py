"""What to do about an error of AWS: wait, end, or take it for a fault of ours.

- *Busy* (throttled, a fault of the service): the call itself is tried again, with growing pauses and jitter.
- *Unreachable, no credentials, expired credentials*: `Retry`, so the shard waits. A role's credentials are renewed by
  botocore well before they expire; where they are not, whatever hands them out is away, and comes back. What does not
  come back ends the child after a while, with this as the reason.
- *Refused* (no permission, no such table, a wrong key or signature): `Fatal`. Waiting does not mend settings. Whatever
  runs the worker starts it again, and that is a wait too.
- *Not understood* (a request that cannot be): `NotUnderstood`, an error like any other fault of ours: the batch is
  halved until the record is found that it comes of. Neither waiting nor a restart would help it, or those behind it.
"""

from __future__ import annotations

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    LoginError,
    MetadataRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProxyConnectionError,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import ValidationError as InvalidRequestError

from processors.errors import Fatal, Retry

BUSY = frozenset(
    {
        "ThrottlingException",
        "ThrottlingError",
        "Throttling",
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "SlowDown",
        "TransactionConflict",  # a transaction of another worker holds the row: its outcome decides ours
        "TransactionConflictException",
        "TransactionInProgressException",
        "LimitExceededException",
        "InternalServerError",
        "InternalError",
        "ServiceUnavailable",
        "ServiceUnavailableException",
    }
)

CONFLICT = frozenset(
    {"ConditionalCheckFailed", "ConditionalCheckFailedException", "DuplicateItem", "DuplicateItemException"}
)

EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})

REFUSED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AllAccessDisabled",
        "AuthorizationHeaderMalformed",  # a bucket of another region
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "NoSuchBucket",
        "PermanentRedirect",
        "ResourceNotFound",
        "ResourceNotFoundException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)

_NOT_UNDERSTOOD = frozenset({"SerializationException", "ValidationError", "ValidationException"})

_UNREACHABLE = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError)
_CREDENTIALS = (
    CredentialRetrievalError,
    LoginError,
    MetadataRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)


class NotUnderstood(RuntimeError):  # noqa: N818 - as the errors that are named by the recovery
    """A store says that a request cannot be: it would be refused for ever."""


def code_of(error: ClientError) -> str:
    """The service's code of an error."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_busy(error: ClientError) -> bool:
    """Whether the same call may well be taken in a moment."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return code_of(error) in BUSY or (status >= 500 and code_of(error) not in REFUSED)


def translated(service: str, operation: str, code: str) -> Exception:
    """What is raised for an error that the service answered with, other than that it is busy.

    Args:
        service: its name, for people.
        operation: what was called.
        code: the service's code.
    """
    if code in REFUSED:
        return Fatal(
            f"{service} refuses {operation}: {code}; see that tables and bucket, region, and the role's permissions "
            "are right"
        )
    if code in _NOT_UNDERSTOOD:
        return NotUnderstood(f"{service} does not understand {operation}: {code}")
    if code in EXPIRED:
        return Retry(f"{service}: the credentials have expired and are not renewed ({code})")
    return Retry(f"{service} cannot do {operation} now: {code}")


def raise_if_never_sent(service: str, error: BotoCoreError) -> None:
    """Raise what a call comes to that never left; return where it may have been carried out, its answer being lost.

    Args:
        service: its name, for people.
        error: what botocore raised.

    Raises:
        Retry: the service cannot be reached, or there are no credentials now.
        BotoCoreError: the request cannot be: a fault of ours.
    """
    name = type(error).__name__
    if isinstance(error, _UNREACHABLE):
        raise Retry(f"{service} cannot be reached ({name})") from error
    if isinstance(error, _CREDENTIALS):
        raise Retry(f"{service}: there are no credentials now ({name})") from error
    if isinstance(error, ParamValidationError | InvalidRequestError):
        raise error
