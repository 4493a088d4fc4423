"""Who may ask at all: the API key, and the name by which the server was called.

The name matters on loopback without a key: a page of another site may lead its own name to
127.0.0.1 and read what is answered, unless the server knows by which names it goes.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from grokdist_runtime.errors import ConfigError
from grokdist_runtime.server.api_error import ApiError

MIN_KEY = 16
"""A key has at least so many characters."""
MAX_KEY = 512

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

_OPEN = ("/", "/health")
"""For everyone: the page, which holds nothing of the model, and whether the server is well."""


def names_at(address: str) -> tuple[str, ...]:
    """By which names a server at this loopback address goes."""
    own = f"[{address}]" if ":" in address else address
    return tuple({*_LOOPBACK, own})


class ApiKeys:
    """The keys that are let in; kept as digests, compared in a time that tells nothing."""

    def __init__(self, keys: Iterable[str]) -> None:
        """Takes the keys.

        Raises:
            ConfigError: One is too short, too long or not printable ASCII without spaces. The
                message does not say which.
        """
        digests = []
        for key in keys:
            printable = key.isascii() and key.isprintable() and " " not in key
            if not printable or not MIN_KEY <= len(key) <= MAX_KEY:
                raise ConfigError(
                    f"an API key has {len(key)} characters or others than printable ASCII; "
                    f"expected {MIN_KEY} to {MAX_KEY} without spaces"
                )
            digests.append(hashlib.sha256(key.encode()).digest())
        self._digests = tuple(digests)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def let_in(self, authorization: str) -> bool:
        """Whether a request with this header may pass; all may where there are no keys."""
        scheme, _, key = authorization.partition(" ")
        given = hashlib.sha256(key.strip().encode("utf-8", "replace")).digest()
        found = [hmac.compare_digest(given, digest) for digest in self._digests]
        return not found or (any(found) and scheme.lower() == "bearer")


class Guard:
    """Lets requests through to the application, or answers them itself."""

    def __init__(self, app: ASGIApp, *, keys: ApiKeys, names: Iterable[str] = ()) -> None:
        """Wraps an application.

        Args:
            app: Who answers what is let through.
            keys: Those that are let in.
            names: Names in a ``Host`` header, without the port; none: any.
        """
        self._app = app
        self._keys = keys
        self._names = frozenset(name.lower() for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http" and (error := self._refusal(scope)) is not None:
            await error.response()(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> ApiError | None:
        headers = Headers(scope=scope)
        name = _without_port(headers.get("host", ""))
        if self._names and name not in self._names:
            return ApiError(
                f"this server does not go by the name {name[:80]!r}; "
                f"expected {', '.join(sorted(self._names))}",
                status=403,
                code="wrong_host",
            )
        if scope["path"] in _OPEN or self._keys.let_in(headers.get("authorization", "")):
            return None
        return ApiError(
            "no valid API key; expected a header Authorization: Bearer KEY",
            status=401,
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )


def _without_port(host: str) -> str:
    name, colon, port = host.strip().lower().rpartition(":")
    return name if colon and port.isdecimal() else host.strip().lower()
