"""The local server of a review: the report, its pictures, and the operations. One user, one machine, no other origin."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from blemish.errors import BlemishError, InputError, OutputError
from blemish.output.claims import REPORT_FILE, short
from blemish.review.files import chunks, open_file
from blemish.review.guard import Guard, Keys
from blemish.review.log import DamagedLog
from blemish.review.replay import Conflict
from blemish.review.session import Session

MAX_BODY_BYTES = 10**6
"""Largest body of a request: one operation that names some ten thousand images."""

REVISION_HEADER = "x-blemish-revision"

Endpoint = Callable[[Request], Awaitable[Response]]


def review_app(session: Session, keys: Keys, port: int) -> Starlette:
    """The application.

    Args:
        session: the review.
        keys: the secrets that requests have to bring.
        port: that the server listens on.

    Every error of ours is JSON with ``ok: false`` and ``error``, one sentence for the person at the page.
    """
    api = _Api(session)
    routes = [
        Route("/", _page(session, keys, port)),
        Route(f"/{REPORT_FILE}", _page(session, keys, port)),
        Route("/api/operations", api.read, methods=["GET"]),
        Route("/api/operations", api.submit, methods=["POST"]),
        Route("/api/split", api.split, methods=["POST"]),
        Route("/favicon.ico", _no_icon),
        Route("/{path:path}", _file(session)),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, keys=keys, port=port)])


class _Api:
    """The calls that the page makes."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def read(self, _: Request) -> Response:
        """All operations so far."""

        def answer() -> dict[str, object]:
            self._session.check_current()
            found = self._session.operations()
            return {"operations": [one.model_dump() for one in found], "revision": len(found)}

        return await _answered(answer)

    async def submit(self, request: Request) -> Response:
        """Save one operation."""
        body = await _body(request)

        def answer() -> dict[str, object]:
            known = request.headers.get(REVISION_HEADER)
            return {"ok": True, "revision": self._session.submit(body, None if known is None else _number(known))}

        return await _answered(answer)

    async def split(self, request: Request) -> Response:
        """Parts that a type could be split into."""
        await _body(request)

        def answer() -> dict[str, object]:
            self._session.check_current()
            label, count = (_number(request.query_params.get(name, "")) for name in ("type", "parts"))
            return {"parts": self._session.parts(label, count)}

        return await _answered(answer)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InputError("expected a whole number")
    return int(text)


async def _answered(answer: Callable[[], dict[str, object]]) -> Response:
    """The answer as JSON, computed in a thread of its own; errors of ours as JSON too."""
    try:
        return _json(await run_in_threadpool(answer))
    except BlemishError as error:
        return _json({"ok": False, "error": str(error)}, _status(error))


def _json(content: dict[str, object], status: int = 200) -> Response:
    # ASCII, because odd bytes in paths exist in JSON as escapes alone
    return Response(json.dumps(content), status, media_type="application/json")


def _status(error: BlemishError) -> int:
    if isinstance(error, Conflict):
        return 409
    if isinstance(error, DamagedLog):
        return 500
    return 503 if isinstance(error, OutputError) else 422


async def _body(request: Request) -> bytes:
    """The body; a longer one than ``MAX_BODY_BYTES`` is refused before more of it is read, whatever its header says."""
    declared = request.headers.get("content-length", "0")
    if not declared.isdigit() or len(declared) > 15 or int(declared) > MAX_BODY_BYTES:
        raise _too_large()
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise _too_large()
        parts.append(part)
    return b"".join(parts)


def _too_large() -> HTTPException:
    return HTTPException(413, "more than one operation may need", {"connection": "close"})


def _page(session: Session, keys: Keys, port: int) -> Endpoint:
    """The report, which learns from an element in its head that it is under review."""
    cookie = f"blemish-review-{port}={keys.cookie}; Path=/; HttpOnly; SameSite=Strict"

    def answer() -> Response:
        try:
            session.check_current()
            page = (session.folder / REPORT_FILE).read_bytes()
        except OutputError as error:
            return PlainTextResponse(str(error), 503)
        except OSError as error:
            return PlainTextResponse(f"{short(session.folder / REPORT_FILE)}: cannot be read ({error.strerror})", 500)
        meta = f'<meta name="blemish-review" content="{keys.token}">'
        head, found, rest = page.partition(b"<head>")
        if not found:
            return PlainTextResponse("report.html has no head; run again to write it", 500)
        headers = {"content-type": "text/html; charset=utf-8", "set-cookie": cookie}
        return Response(head + found + meta.encode("ascii") + rest, headers=headers)

    async def endpoint(_: Request) -> Response:
        return await run_in_threadpool(answer)

    return endpoint


async def _no_icon(_: Request) -> Response:
    """Browsers ask for an icon by themselves, and report an error if there is no answer."""
    return Response(status_code=204)


def _file(session: Session) -> Endpoint:
    """Pictures, maps and masks."""

    async def endpoint(request: Request) -> Response:
        sent = request.scope.get("raw_path") or request.scope["path"].encode("utf-8", "surrogateescape")
        found = await run_in_threadpool(open_file, session.folder, sent.partition(b"?")[0].removeprefix(b"/"))
        if found is None:
            return PlainTextResponse("not found", 404)
        stream, kind = found
        return StreamingResponse(chunks(stream), media_type=kind)

    return endpoint
