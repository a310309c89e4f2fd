"""AWS Signature Version 4 for requests that all look alike: one host, one path, a JSON body.

botocore's own signer takes ten times as long, as it works out anew each time what is the same for all. A test holds
this one to the same signatures.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from botocore.exceptions import CredentialRetrievalError, NoCredentialsError

from .connections import Place

if TYPE_CHECKING:
    from botocore.credentials import Credentials, ReadOnlyCredentials

CONTENT_TYPE = "application/x-amz-json-1.0"


class Signer:
    """Makes the headers by which AWS knows who asks.

    Args:
        credentials: who asks now; None: nobody. botocore resolves and renews them.
        service: as signatures name it.
        region: of the service.
        place: where requests go.
        now: seconds since 1970, by the machine's clock and never a pinned one: AWS refuses a signature of another time.
    """

    def __init__(
        self,
        credentials: Callable[[], Credentials | None],
        service: str,
        region: str,
        place: Place,
        now: Callable[[], float],
    ) -> None:
        self._credentials = credentials
        self._service = service
        self._region = region
        self._place = place
        self._now = now
        self._made: tuple[str, str, bytes] = ("", "", b"")
        """The day and the secret that the key was made of, and the key."""

    def headers(self, target: str, body: bytes) -> list[tuple[str, str]]:
        """The headers of a request, the signature among them.

        Args:
            target: what is called.
            body: what is sent.

        Raises:
            BotoCoreError: there are no credentials now.
        """
        who = self._who()
        at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._now()))
        scope = f"{at[:8]}/{self._region}/{self._service}/aws4_request"
        token, signed_token, token_name = [], "", ""
        if who.token:
            token = [("X-Amz-Security-Token", who.token)]
            signed_token, token_name = f"x-amz-security-token:{who.token}\n", "x-amz-security-token;"
        signed = f"content-type;host;x-amz-date;{token_name}x-amz-target"
        canonical = (
            f"POST\n{self._place.path}\n\n"
            f"content-type:{CONTENT_TYPE}\nhost:{self._place.name}\nx-amz-date:{at}\n{signed_token}"
            f"x-amz-target:{target}\n\n{signed}\n{hashlib.sha256(body).hexdigest()}"
        )
        text = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = _sign(self._key(at[:8], who.secret_key or ""), text).hex()
        return [
            ("Content-Type", CONTENT_TYPE),
            ("X-Amz-Date", at),
            ("X-Amz-Target", target),
            *token,
            (
                "Authorization",
                f"AWS4-HMAC-SHA256 Credential={who.access_key}/{scope}, SignedHeaders={signed}, "
                f"Signature={signature}",
            ),
        ]

    def _who(self) -> ReadOnlyCredentials:
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
        return who

    def _key(self, day: str, secret: str) -> bytes:
        made_day, made_of, key = self._made  # read at once: another thread may renew it
        if (made_day, made_of) != (day, secret):
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = _sign(key, part)
            self._made = (day, secret, key)
        return key


def _sign(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
