"""What goes wrong with a request, in the form that OpenAI's clients understand.

``{"error": {"message", "type", "param", "code"}}`` with a status that says whose fault it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from grokdist_runtime.errors import BusyError, ClosedError, RuntimeModelError

RETRY_AFTER_S = 1
"""What a client is told to wait before it asks again; a row is free after a token or a few."""


class ApiError(Exception):
    """A request that is not answered, or no further.

    Attributes:
        message: A sentence for a person.
        status: HTTP status.
        param: The parameter that is at fault; ``None`` if none is.
        code: A word for a program.
        headers: To send along.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    @property
    def document(self) -> dict[str, Any]:
        """The body."""
        kind = "invalid_request_error"
        if self.status == 401:
            kind = "authentication_error"
        elif self.status == 429:
            kind = "rate_limit_error"
        elif self.status >= 500:
            kind = "server_error"
        return {
            "error": {
                "message": self.message,
                "type": kind,
                "param": self.param,
                "code": self.code,
            }
        }

    def response(self) -> Response:
        """The whole answer."""
        return JsonResponse(self.document, status_code=self.status, headers=self.headers)


class JsonResponse(Response):
    """JSON that never fails to be sent: half a surrogate pair from a client becomes ``?``."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The document as UTF-8."""
        return encoded(content)


def encoded(document: Any) -> bytes:
    """Compact JSON in UTF-8; a number that JSON lacks is a fault of ours and raises."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def api_error(error: Exception) -> ApiError:
    """What to tell the client of an error of the runtime.

    Sentences of ours are passed on. Others, such as a device's, may say more of this machine than
    a client should know, and are not.
    """
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ClosedError):
        return shutting_down()
    if isinstance(error, BusyError):
        retry = {"Retry-After": str(RETRY_AFTER_S)}
        return ApiError(str(error), status=429, code="queue_full", headers=retry)
    if isinstance(error, RuntimeModelError):
        return ApiError(str(error))
    return ApiError("the model failed; the server's log says how", status=500, code="model_failed")


def shutting_down() -> ApiError:
    """The server is about to end."""
    return ApiError("the server is shutting down", status=503, code="shutting_down")


def timed_out(seconds: float) -> ApiError:
    """A request took too long."""
    message = f"the request was not answered within {seconds:g} seconds"
    return ApiError(message, status=504, code="timeout")
