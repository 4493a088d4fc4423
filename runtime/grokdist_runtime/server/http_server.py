"""Listening and answering until a signal ends it: uvicorn, with bounds on who only keeps a line.

The first signal lets answers under way come to their end, for a time; the second ends at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from grokdist_runtime.errors import AddressError
from grokdist_runtime.server.limits import Limits
from grokdist_runtime.server.service import Service

_SETTLE_S = 5
"""Seconds for answers that were cut to be told so, after the grace."""


class _Impatient(H11Protocol):
    """Closes a connection on which no request has begun in time, however slowly it drips."""

    header_timeout_s: float
    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_a_request()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._expect_a_request()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._expect_nothing()

    def _expect_a_request(self) -> None:
        self._expect_nothing()
        self._waiting = self.loop.call_later(
            self.header_timeout_s, self._close_unless_begun, self.cycle
        )

    def _expect_nothing(self) -> None:
        # The clock holds on to the connection, and clients may come and go by the thousand.
        if self._waiting is not None:
            self._waiting.cancel()

    def _close_unless_begun(self, served: object) -> None:
        # Another cycle than then: a request has come since, and its end starts the clock anew.
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self.cycle is served and not self.transport.is_closing():
            self.transport.close()


class HttpServer(uvicorn.Server):
    """One server.

    Attributes:
        signal: Which signal ended it; ``None`` if it was none.
    """

    def __init__(self, app: ASGIApp, service: Service, *, on_ready: Callable[[], None]) -> None:
        """Prepares to listen.

        Args:
            app: Who answers.
            service: What is told to stop.
            on_ready: Called once connections are taken.
        """
        limits = service.limits
        super().__init__(
            uvicorn.Config(
                app,
                http=_protocol(limits),
                ws="none",
                lifespan="off",
                log_config=None,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=max(1, int(limits.header_timeout_s)),
                limit_concurrency=limits.max_connections,
                timeout_graceful_shutdown=max(1, int(limits.grace_s)) + _SETTLE_S,
            )
        )
        self.signal: int | None = None
        self._service = service
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens."""
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes no more, and ends what is under way: by itself, or when its time is over."""
        self._service.stopping = True
        loop = asyncio.get_running_loop()
        cut = loop.call_later(self._service.limits.grace_s, self._service.cut)
        try:
            await super().shutdown(sockets)
        finally:
            cut.cancel()
            self._service.cut()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal has come."""
        self.signal = sig
        self.force_exit = self.should_exit
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Has signals end the server, and only that: its caller goes on from there."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def bind(host: str, port: int) -> socket.socket:
    """A socket at an address, before anything is loaded; nothing is answered there yet.

    Raises:
        AddressError: The address is not this machine's, or taken.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind)
    except OSError as error:
        raise AddressError(f"cannot listen at {host}: {error.strerror}") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise AddressError(
            f"cannot listen at {host} port {port}: {error.strerror}",
            hint="--port 0 takes a free one",
        ) from error
    return bound


def _protocol(limits: Limits) -> type[asyncio.Protocol]:
    return type("Impatient", (_Impatient,), {"header_timeout_s": limits.header_timeout_s})
