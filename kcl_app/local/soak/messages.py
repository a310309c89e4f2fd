"""HTTP/1.1 messages read and passed on as the bytes they are, as far as AWS' clients and the local cloud use it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

MAX_HEAD = 64 * 1024
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HTTP2 = b"PRI * HTTP/2.0\r\n\r\n"
"""What a client says first that speaks HTTP/2 without asking; the KCL's Kinesis client does."""


@dataclass(slots=True)
class Message:
    """A request or an answer: its first line and headers, and the body as it came, chunks and all."""

    head: bytes
    body: bytes

    def header(self, name: str) -> str:
        """A header's value; empty where there is none."""
        wanted = name.lower().encode() + b":"
        for line in self.head.split(b"\r\n")[1:]:
            if line.lower().startswith(wanted):
                return line[len(wanted) :].strip().decode("latin-1")
        return ""

    def without(self, *names: str) -> Message:
        """The message without some headers."""
        unwanted = tuple(name.lower().encode() + b":" for name in names)
        lines = self.head.split(b"\r\n")
        kept = [line for line in lines if not line.lower().startswith(unwanted)]
        return Message(b"\r\n".join(kept), self.body)

    def with_body(self, body: bytes) -> Message:
        """The message with another body, its length put right; a checksum of the old one is dropped."""
        kept = self.without("content-length", "transfer-encoding", "x-amz-crc32", "content-md5")
        first, _, rest = kept.head.partition(b"\r\n")
        return Message(first + b"\r\ncontent-length: " + str(len(body)).encode() + b"\r\n" + rest, body)

    def bytes(self) -> bytes:
        """As it goes over the wire."""
        return self.head + self.body


def answer(status: int, reason: str, body: bytes, content_type: str) -> Message:
    """An answer made here."""
    head = (
        f"HTTP/1.1 {status} {reason}\r\ncontent-type: {content_type}\r\n"
        f"content-length: {len(body)}\r\nx-amzn-requestid: 00000000-0000-0000-0000-000000000000\r\n\r\n"
    )
    return Message(head.encode(), body)


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Message | None:
    """The next request; None where the client has gone.

    A client that asks leave to send its body gets it here, so the cloud is not asked.
    """
    head = await _head(reader)
    if head is None:
        return None
    message = Message(head, b"")
    if head == HTTP2:
        return message
    if message.header("expect").lower() == "100-continue":
        writer.write(CONTINUE)
        message = message.without("expect")
    if "chunked" in message.header("transfer-encoding").lower():
        message.body = await _chunks(reader)
    elif length := int(message.header("content-length") or 0):
        message.body = await reader.readexactly(length)
    return message


async def read_answer(reader: asyncio.StreamReader, method: str) -> Message:
    """The answer to a request with this method.

    Raises:
        ConnectionError: the cloud has gone.
    """
    head = await _head(reader)
    if head is None:
        raise ConnectionResetError("no answer")
    message = Message(head, b"")
    status = int(head.split(b" ", 2)[1])
    if method == "HEAD" or status in (204, 304) or status < 200:
        return message
    if "chunked" in message.header("transfer-encoding").lower():
        message.body = await _chunks(reader)
    else:
        message.body = await reader.readexactly(int(message.header("content-length") or 0))
    return message


async def _head(reader: asyncio.StreamReader) -> bytes | None:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    found = []
    while True:
        line = await reader.readuntil(b"\r\n")
        found.append(line)
        size = int(line.split(b";")[0], 16)
        found.append(await reader.readexactly(size + 2) if size else await _trailer(reader))
        if not size:
            return b"".join(found)


async def _trailer(reader: asyncio.StreamReader) -> bytes:
    found = b""
    while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
        found += line
    return found + b"\r\n"
