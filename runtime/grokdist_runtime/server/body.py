"""Reading a request's body: bounded in bytes and time, JSON, one object."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NoReturn

from starlette.requests import ClientDisconnect, Request

from grokdist_runtime.server.api_error import ApiError
from grokdist_runtime.server.limits import Limits


async def read_object(request: Request, limits: Limits) -> dict[str, Any]:
    """The JSON object that a request brings.

    The content type must be JSON's: a page of another site can make a browser post plain text to
    a server on this machine, but not JSON.

    Raises:
        ApiError: It is not one, too large or too slow.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(
            f"the content type is {kind[:80]!r}; expected application/json",
            status=415,
            code="unsupported_media_type",
        )
    try:
        async with asyncio.timeout(limits.body_timeout_s):
            data = await _read(request, limits.max_body_bytes)
    except TimeoutError:
        raise ApiError(
            f"the body did not arrive within {limits.body_timeout_s:g} seconds",
            status=408,
            code="timeout",
        ) from None
    except ClientDisconnect:
        raise ApiError("the client went away", status=499) from None
    return parse_object(data)


def parse_object(data: bytes) -> dict[str, Any]:
    """Parses a body.

    Raises:
        ApiError: It is no JSON object in UTF-8.
    """
    try:
        document = json.loads(data.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        # Also digits without end and brackets without end.
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise ApiError(f"the body is not JSON: {reason:.200}", code="invalid_json") from None
    if not isinstance(document, dict):
        kind = type(document).__name__
        raise ApiError(f"the body is JSON of type {kind}; expected an object", code="invalid_json")
    return document


async def _read(request: Request, most: int) -> bytes:
    said = request.headers.get("content-length", "")
    if said.isdecimal() and len(said) < 20 and int(said) > most:
        raise _too_large(most)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise _too_large(most)
        parts.append(part)
    return b"".join(parts)


def _too_large(most: int) -> ApiError:
    return ApiError(
        f"the body is larger than {most} bytes",
        status=413,
        code="body_too_large",
    )


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")
