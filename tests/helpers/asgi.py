"""Requests to an ASGI application without a network, and without a client that tidies paths and headers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Answer:
    """What the application answered, and how many bytes of the body it took."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    taken: int = 0


async def _request(
    app: Any, method: str, target: str, headers: Iterable[tuple[str, str]], body: Iterator[bytes]
) -> Answer:
    answer = Answer()
    raw, _, query = target.encode("latin-1").partition(b"?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": raw.decode("latin-1"),
        "raw_path": raw,
        "query_string": query,
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
    }

    ended = False

    async def receive() -> dict[str, Any]:
        nonlocal ended
        if ended:
            await asyncio.Event().wait()  # the client stays until it has its answer
        part = next(body, None)
        ended = part is None
        answer.taken += len(part or b"")
        return {"type": "http.request", "body": part or b"", "more_body": part is not None}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
        else:
            answer.body += message.get("body", b"")

    await app(scope, receive, send)
    return answer


def requests(app: Any, many: Iterable[tuple[str, str, dict[str, str], Iterator[bytes]]]) -> list[Answer]:
    """The answers to requests of (method, target, headers, body), one after the other, in one event loop."""

    async def run() -> list[Answer]:
        return [await _request(app, method, target, headers.items(), body) for method, target, headers, body in many]

    return asyncio.run(run())


def request(
    app: Any, method: str, target: str, headers: dict[str, str] | None = None, body: bytes | Iterator[bytes] = b""
) -> Answer:
    """The answer to one request."""
    parts = iter([body]) if isinstance(body, bytes) else body
    return requests(app, [(method, target, headers or {}, parts)])[0]
