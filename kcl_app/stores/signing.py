"""Signatures of requests to AWS, version 4, for one service and place.

botocore's signer takes any request. This one takes the only kind that the store sends (POST to one place, no query), so
that nearly all of what is signed is the same each time, and is made once. A test holds it to botocore's.

Source: "Create a signed AWS API request" in AWS's guide to IAM.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

from .connections import Place

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

ALGORITHM = "AWS4-HMAC-SHA256"


class Signer:
    """Signs requests; threads may share it.

    Args:
        service: as AWS names it, such as `dynamodb`.
        region: of the service.
        place: where requests go.
        content_type: of the bodies.
    """

    def __init__(self, service: str, region: str, place: Place, content_type: str) -> None:
        self._service, self._region = service, region
        self._host = place.host_header()
        self._path = quote(place.path, safe="/~")
        self._content_type = content_type
        self._key: tuple[str, str, bytes] = ("", "", b"")

    def headers(
        self, who: ReadOnlyCredentials, target: str, body: bytes, now: float | None = None
    ) -> dict[str, str]:
        """The headers of a request, the signature among them.

        Args:
            who: asks.
            target: what is called, for `X-Amz-Target`.
            body: what is sent.
            now: seconds since the epoch; the present if None.
        """
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        day = moment[:8]
        headers = {"Content-Type": self._content_type, "X-Amz-Target": target, "X-Amz-Date": moment}
        token, names = "", "content-type;host;x-amz-date;x-amz-target"
        if who.token:
            headers["X-Amz-Security-Token"] = who.token
            token = f"x-amz-security-token:{' '.join(who.token.split())}\n"
            names = "content-type;host;x-amz-date;x-amz-security-token;x-amz-target"
        asked = (
            f"POST\n{self._path}\n\ncontent-type:{self._content_type}\nhost:{self._host}\nx-amz-date:{moment}\n{token}"
            f"x-amz-target:{target}\n\n{names}\n{hashlib.sha256(body).hexdigest()}"
        )
        scope = f"{day}/{self._region}/{self._service}/aws4_request"
        text = f"{ALGORITHM}\n{moment}\n{scope}\n{hashlib.sha256(asked.encode()).hexdigest()}"
        signature = _mac(self._signing_key(who.secret_key or "", day), text).hex()
        headers["Authorization"] = (
            f"{ALGORITHM} Credential={who.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return headers

    def _signing_key(self, secret: str, day: str) -> bytes:
        """The key of a day; kept until the day or the secret is another."""
        of_secret, of_day, key = self._key
        if of_secret != secret or of_day != day:
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = _mac(key, part)
            self._key = (secret, day, key)
        return key


def _mac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
