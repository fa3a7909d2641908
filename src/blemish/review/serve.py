"""Run the local server of a review until it is interrupted."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress

from blemish.errors import ConfigError, MissingDependencyError
from blemish.review.session import Session

HOST = "127.0.0.1"

MAX_CONNECTIONS = 100
"""Connections at a time; a browser opens six per host."""


def require_server() -> None:
    """Check that the packages of the server are installed.

    Raises:
        MissingDependencyError: one is not; the message says how to install it.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "the review needs Starlette and uvicorn: pip install 'blemish[review]'; "
            "without them, save the review in the page and use --apply"
        ) from error


def serve(session: Session, port: int, opened: Callable[[str], None]) -> None:
    """Serve a review on the loopback address until the process is interrupted.

    Args:
        session: the review.
        port: to listen on; 0 = one that is free.
        opened: called with the address, which holds the token, once connections are accepted.

    Raises:
        MissingDependencyError: see :func:`require_server`.
        ConfigError: the port is in use or not allowed.
    """
    require_server()
    import uvicorn

    from blemish.review.guard import Keys
    from blemish.review.server import review_app

    with _listening(port) as listener:
        port = listener.getsockname()[1]
        keys = Keys()
        config = uvicorn.Config(
            review_app(session, keys, port),
            lifespan="off",
            log_level="warning",
            access_log=False,  # addresses hold the token
            server_header=False,
            proxy_headers=False,
            ws="none",
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=2,
        )
        opened(f"http://{HOST}:{port}/?token={keys.token}")
        with suppress(KeyboardInterrupt):  # the way to end it
            uvicorn.Server(config).run(sockets=[listener])


def _listening(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(MAX_CONNECTIONS)
    except OSError as error:
        listener.close()
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
        raise ConfigError(f"port {port} {reason}; choose another one with --port, or leave it out") from error
    return listener
