"""Calls of DynamoDB: a signed request out, the parsed answer back, errors as botocore raises them.

botocore resolves and renews the credentials, knows the endpoint, and makes the connections where a proxy is set.
Its machinery round a call is left out: validation, serialising and parsing by the service's model, hooks and endpoint
rules cost more than all else that a batch does. So nothing mends a clock that is wrong: DynamoDB refuses the signature.
"""

from __future__ import annotations

import json
import ssl
import time
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from botocore.awsrequest import AWSRequest
from botocore.exceptions import (
    ChecksumError,
    ClientError,
    ConnectionClosedError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
)
from botocore.exceptions import ConnectionError as NotConnectedError
from botocore.httpsession import URLLib3Session, get_cert_path
from botocore.utils import get_environ_proxies
from pydantic_core import from_json

from kcl_app import backoff

from .connections import Answer, Connections, Place, Poster
from .signing import Signer

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from botocore.session import Session

SERVICE = "dynamodb"
TARGET = "DynamoDB_20120810"
CONTENT_TYPE = "application/x-amz-json-1.0"
KEPT_CONNECTIONS = 16


class Calls(Protocol):
    """What carries out calls of DynamoDB; threads may share it."""

    def __call__(self, operation: str, body: bytes) -> Any:
        """Call, and wait for the answer.

        Args:
            operation: its name, such as `Query`.
            body: the request, as JSON.

        Returns:
            the answer, parsed but no more.

        Raises:
            ClientError: DynamoDB answered with an error.
            BotoCoreError: the call could not be made, or its answer was lost.
        """


class DynamoDBCalls(Calls):
    """Calls over HTTP.

    One try besides the first is for connections that were closed while they were idle, or broke; with the same body,
    and so the same token. The store does the rest.

    Args:
        poster: sends requests.
        place: where they go.
        region: of DynamoDB.
        credentials: who asks now; None: nobody. botocore resolves and renews them.
        user_agent: how we name ourselves.
        sleep: waits between the two tries, in seconds.
    """

    def __init__(
        self,
        poster: Poster,
        place: Place,
        region: str,
        credentials: Callable[[], Credentials | None],
        user_agent: str,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._poster = poster
        self._signer = Signer(SERVICE, region, place, CONTENT_TYPE)
        self._credentials = credentials
        self._user_agent = user_agent
        self._sleep = sleep

    def __call__(self, operation: str, body: bytes) -> Any:
        try:
            return self._try(operation, body)
        except (HTTPClientError, NotConnectedError, ChecksumError) as error:
            if not isinstance(error, ConnectionClosedError):
                self._sleep(backoff.pause(0, 1.0, base=1.0, least=0.0))
        return self._try(operation, body)

    def _try(self, operation: str, body: bytes) -> Any:
        answer = self._poster.post(self._headers(operation, body), body)
        if (told := answer.headers.get("x-amz-crc32")) is not None and told != str(zlib.crc32(answer.body)):
            raise ChecksumError(
                checksum_type="crc32", expected_checksum=told, actual_checksum=str(zlib.crc32(answer.body))
            )
        if answer.status >= 300:
            raise _error(operation, answer)
        try:
            return from_json(answer.body)
        except ValueError as error:
            raise HTTPClientError(error=ValueError("the answer is not JSON")) from error

    def _headers(self, operation: str, body: bytes) -> dict[str, str]:
        """The headers of a request, the signature among them."""
        credentials = self._credentials()
        if credentials is None:
            raise NoCredentialsError
        who = credentials.get_frozen_credentials()
        if not who.access_key or not who.secret_key:
            raise NoCredentialsError
        if not f"{who.access_key}{who.token or ''}".isprintable():
            raise CredentialRetrievalError(
                provider=credentials.method, error_msg="a key or token has a line break in it"
            )
        headers = self._signer.headers(who, f"{TARGET}.{operation}", body)
        headers["User-Agent"] = self._user_agent
        return headers


def _error(operation: str, answer: Answer) -> ClientError:
    """What botocore makes of an answer with an error."""
    try:
        parsed = json.loads(answer.body)
    except ValueError:
        parsed = None  # something between us and DynamoDB answered
    told: dict[str, Any] = parsed if isinstance(parsed, dict) else {}
    code = str(told.get("__type") or answer.headers.get("x-amzn-errortype") or answer.status)
    message = told.get("message") or told.get("Message") or ""
    response: Any = {
        "Error": {"Code": code.rpartition("#")[2].partition(":")[0], "Message": str(message)},
        "ResponseMetadata": {"HTTPStatusCode": answer.status},
        "CancellationReasons": told.get("CancellationReasons") or [],
    }
    return ClientError(response, operation)


class BotocorePoster(Poster):
    """Requests by botocore's own HTTP client, which knows proxies.

    Args:
        place: where.
        session: botocore's.
    """

    def __init__(self, place: Place, session: URLLib3Session) -> None:
        self._place = place
        self._session = session

    def post(self, headers: Mapping[str, str], body: bytes) -> Answer:
        asked = AWSRequest("POST", self._place.url, dict(headers), body).prepare()
        answered = self._session.send(asked)
        fields = {name.lower(): value for name, value in answered.headers.items()}
        return Answer(answered.status_code, fields, answered.content)


def dynamodb_calls(
    session: Session,
    region: str,
    url: str,
    *,
    connect_seconds: float,
    read_seconds: float,
    authorities: str | None,
) -> DynamoDBCalls:
    """Calls of DynamoDB, through the proxy that the environment names for it, if there is one.

    Args:
        session: botocore's, which knows the credentials.
        region: of DynamoDB.
        url: its endpoint.
        connect_seconds: longest wait for a connection.
        read_seconds: longest wait for the next piece of an answer.
        authorities: path of a file with the certificates that are trusted; None: botocore's.
    """
    place = Place.of(url)
    verify: Any = authorities or True
    proxies = get_environ_proxies(url)
    poster: Poster
    if ("https" if place.secure else "http") in proxies:
        timeout: Any = (connect_seconds, read_seconds)
        http = URLLib3Session(
            verify=verify, proxies=proxies, timeout=timeout, max_pool_connections=KEPT_CONNECTIONS
        )
        poster = BotocorePoster(place, http)
    else:
        poster = Connections(
            place,
            connect_seconds=connect_seconds,
            read_seconds=read_seconds,
            trust=ssl.create_default_context(cafile=get_cert_path(verify)) if place.secure else None,
            keep=KEPT_CONNECTIONS,
        )
    return DynamoDBCalls(poster, place, region, session.get_credentials, session.user_agent())
