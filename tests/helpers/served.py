"""The real server of a review, in a thread."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import pytest
import uvicorn

from blemish.review.serve import serve
from blemish.review.session import Session


@contextmanager
def served(session: Session) -> Iterator[str]:
    """Serve a review as ``blemish review`` does; the address that it prints. The server has ended afterwards."""
    servers: list[uvicorn.Server] = []
    found: list[str] = []
    ready = threading.Event()
    real = uvicorn.Server.__init__

    def remember(self: uvicorn.Server, config: uvicorn.Config) -> None:
        real(self, config)
        servers.append(self)

    def opened(url: str) -> None:
        found.append(url)
        ready.set()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uvicorn.Server, "__init__", remember)
        thread = threading.Thread(target=serve, args=(session, 0, opened))
        thread.start()
        assert ready.wait(20)
        port, token = port_and_token(found[0])
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        client.request("GET", f"/?token={token}")  # answered once the server runs
        assert client.getresponse().read().startswith(b"<!")
        client.close()
        try:
            yield found[0]
        finally:
            servers[0].should_exit = True
            thread.join(20)
        assert not thread.is_alive()


def port_and_token(address: str) -> tuple[int, str]:
    """What the printed address holds."""
    parts = urlsplit(address)
    assert parts.port is not None
    return parts.port, parse_qs(parts.query)["token"][0]
