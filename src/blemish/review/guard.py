"""What every request to the local server must bring, and what every answer carries.

The server listens on the loopback address alone, but every program and every page in a browser of this machine can send
requests there. A page of another site cannot know the token, and the checks of Host, Origin and Sec-Fetch-Site refuse its
requests before the token is looked at. A name that an attacker points to 127.0.0.1 (DNS rebinding) is a foreign Host.
"""

from __future__ import annotations

import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN_HEADER = "x-blemish-token"

SECURITY_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; object-src 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""Sent with every answer. The page brings a stricter policy for its own scripts."""


class Keys:
    """The secrets of one server.

    Attributes:
        token: in the printed address, and in the header of every call of the API.
        cookie: lets the page load its pictures. It opens no call of the API, because browsers send cookies to every port
            of a machine.
    """

    def __init__(self) -> None:
        self.token, self.cookie = secrets.token_urlsafe(32), secrets.token_urlsafe(32)


class Guard:
    """Middleware that refuses requests of others and adds the security headers.

    Args:
        app: what answers the requests that pass.
        keys: the secrets.
        port: that the server listens on; with the loopback addresses it makes the only hosts and origins that pass.
    """

    def __init__(self, app: ASGIApp, keys: Keys, port: int) -> None:
        self.app, self.keys = app, keys
        self.cookie_name = f"blemish-review-{port}"
        self.hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
        self.origins = {f"http://{host}" for host in self.hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope)
        app = self.app if refusal is None else PlainTextResponse(refusal, 403, {"connection": "close"})
        await app(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> str | None:
        """Why a request is refused; None if it passes."""
        headers = Headers(scope=scope)
        for name, allowed in (
            ("host", self.hosts),
            ("origin", self.origins),
            ("sec-fetch-site", {"same-origin", "none"}),
        ):
            values = headers.getlist(name)
            if len(values) > 1 or (name == "host" and not values) or not {*values} <= allowed:
                return f"refused: another {name}"
        if scope["path"].startswith("/api/"):
            return None if _same(headers.get(TOKEN_HEADER), self.keys.token) else "refused: no token"
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [None])[0]
        if _same(given, self.keys.token) or _same(self._cookie(headers), self.keys.cookie):
            return None
        return "refused: open the address that 'blemish review' has printed"

    def _cookie(self, headers: Headers) -> str | None:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self.cookie_name)
        except CookieError:
            return None
        return None if found is None else found.value


def _same(given: str | None, secret: str) -> bool:
    return given is not None and secrets.compare_digest(given.encode("utf-8", "replace"), secret.encode())
