"""The application: its routes, and how errors are answered and requests counted."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from grokdist_runtime.errors import RuntimeModelError
from grokdist_runtime.server.api_error import ApiError, JsonResponse, api_error
from grokdist_runtime.server.chat import chat_completions
from grokdist_runtime.server.completions import completions
from grokdist_runtime.server.guard import ApiKeys, Guard
from grokdist_runtime.server.metrics import CONTENT_TYPE
from grokdist_runtime.server.page import page
from grokdist_runtime.server.service import Service

_LOG = logging.getLogger(__name__)


def make_app(service: Service, *, keys: ApiKeys, names: Iterable[str] = ()) -> ASGIApp:
    """The application of one model.

    Args:
        service: The model.
        keys: API keys that are let in; none: everyone is.
        names: Names by which the server may be called; none: any.
    """
    routes = [
        Route("/", page),
        Route("/health", health),
        Route("/metrics", metrics),
        Route("/provenance", provenance),
        Route("/v1/models", models),
        Route("/v1/models/{name}", one_model),
        Route("/v1/completions", completions, methods=["POST"]),
        Route("/v1/chat/completions", chat_completions, methods=["POST"]),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={
            ApiError: _runtime_error,
            RuntimeModelError: _runtime_error,
            HTTPException: _http_error,
            Exception: _unexpected,
        },
    )
    app.router.redirect_slashes = False
    app.state.service = service
    paths = frozenset(route.path for route in routes if "{" not in route.path)
    return _Counted(Guard(app, keys=keys, names=names), service, paths)


async def health(request: Request) -> Response:
    """Whether requests are taken."""
    service: Service = request.app.state.service
    well = service.scheduler.alive and not service.stopping
    status = "ok" if well else "stopping" if service.stopping else "failed"
    return JsonResponse({"status": status}, status_code=200 if well else 503)


async def metrics(request: Request) -> Response:
    """Counters for Prometheus."""
    service: Service = request.app.state.service
    return Response(service.metrics.text(), headers={"content-type": CONTENT_TYPE})


async def provenance(request: Request) -> Response:
    """Where the model comes from, for the page and for whoever asks."""
    service: Service = request.app.state.service
    return JsonResponse(service.served.provenance)


async def models(request: Request) -> Response:
    """The one model."""
    service: Service = request.app.state.service
    return JsonResponse({"object": "list", "data": [_model(service)]})


async def one_model(request: Request) -> Response:
    """The one model by its name."""
    service: Service = request.app.state.service
    name = request.path_params["name"]
    if name != service.served.name:
        raise ApiError(
            f"the model {name!r:.80} is not here; expected {service.served.name!r}",
            status=404,
            param="model",
            code="model_not_found",
        )
    return JsonResponse(_model(service))


def _model(service: Service) -> dict[str, object]:
    served = service.served
    return {
        "id": served.name,
        "object": "model",
        "created": served.created,
        "owned_by": served.owner,
        "max_model_len": service.engine.config.sequence_len,
    }


async def _runtime_error(request: Request, error: Exception) -> Response:
    return api_error(error).response()


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:
        return ApiError(f"there is no {request.url.path[:200]}", status=404).response()
    if status == 405:
        said = f"{request.url.path[:200]} takes no {request.method[:20]}"
        headers = error.headers if isinstance(error, HTTPException) else None
        return ApiError(said, status=405, headers=headers).response()
    return ApiError("the request is not understood", status=status).response()


async def _unexpected(request: Request, error: Exception) -> Response:
    # Starlette raises it again, so that it is logged where it happened.
    return ApiError("the server failed; its log says how", status=500).response()


class _Counted:
    """Counts every request, also those that the guard refuses."""

    def __init__(self, app: ASGIApp, service: Service, paths: frozenset[str]) -> None:
        self._app = app
        self._service = service
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"]
        label = path if path in self._paths else "other"
        if path.startswith("/v1/models/"):
            label = "/v1/models"
        status = 499  # until something was answered
        started = time.perf_counter()

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff")]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            seconds = time.perf_counter() - started
            self._service.metrics.request_ended(label, status, seconds)
