"""What ``/metrics`` tells Prometheus."""

from __future__ import annotations

import prometheus_client
from prometheus_client.exposition import generate_latest

from grokdist_runtime.events import Completion
from grokdist_runtime.scheduler import Scheduler

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self, scheduler: Scheduler, *, model: str) -> None:
        """Starts at zero.

        Args:
            scheduler: Asked for what runs and waits.
            model: The model's name, a label.
        """
        self._registry = registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=registry)
        prometheus_client.Info(
            "grokdist_model", "The model that is served.", registry=registry
        ).info({"name": model})
        self._requests = prometheus_client.Counter(
            "grokdist_requests",
            "HTTP requests that have been answered.",
            ("path", "status"),
            registry=registry,
        )
        self._seconds = prometheus_client.Histogram(
            "grokdist_request_seconds",
            "Seconds from a request to the end of its answer.",
            ("path",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._texts = prometheus_client.Counter(
            "grokdist_texts",
            "Texts that have ended, by reason: length, eos, stop, context, cancel or error.",
            ("reason",),
            registry=registry,
        )
        for reason in ("length", "eos", "stop", "context", "cancel", "error"):
            self._texts.labels(reason)  # shown from the start, at zero
        self._prompt_tokens = prometheus_client.Counter(
            "grokdist_prompt_tokens", "Tokens of prompts.", registry=registry
        )
        self._reused_tokens = prometheus_client.Counter(
            "grokdist_reused_prompt_tokens",
            "Tokens of prompts that were there already.",
            registry=registry,
        )
        self._scored_tokens = prometheus_client.Counter(
            "grokdist_scored_tokens", "Tokens of prompts that were scored.", registry=registry
        )
        self._tokens = prometheus_client.Counter(
            "grokdist_generated_tokens", "Tokens that were generated.", registry=registry
        )
        self._first = prometheus_client.Histogram(
            "grokdist_first_token_seconds",
            "Seconds from a request to its first token, without compiling.",
            buckets=_SECONDS,
            registry=registry,
        )
        for name, says, ask in (
            ("grokdist_texts_running", "Texts being generated.", lambda: scheduler.running),
            ("grokdist_texts_waiting", "Texts that wait for a row.", lambda: scheduler.waiting),
            (
                "grokdist_prefix_cache_bytes",
                "Memory that beginnings of texts take, on each device.",
                lambda: scheduler.prefix_bytes,
            ),
        ):
            prometheus_client.Gauge(name, says, registry=registry).set_function(ask)

    def request_ended(self, path: str, status: int, seconds: float) -> None:
        """One request has been answered.

        Args:
            path: Its route, never the path as the client sent it: labels are for ever.
            status: Of the answer; 499 where the client went away before one.
            seconds: It took.
        """
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def text_ended(self, completion: Completion) -> None:
        """One text has ended, for whatever reason."""
        self._texts.labels(completion.stop_reason).inc()
        self._tokens.inc(len(completion.token_ids))
        if completion.token_ids:
            self._prompt_tokens.inc(completion.prompt_tokens)
            self._reused_tokens.inc(completion.reused_tokens)
            self._first.observe(completion.timings.first_token_s)

    def text_failed(self) -> None:
        """One text could not be finished."""
        self._texts.labels("error").inc()

    def text_scored(self, tokens: int) -> None:
        """One prompt has been scored."""
        self._scored_tokens.inc(tokens)

    def text(self) -> bytes:
        """The page, in Prometheus's text format."""
        return generate_latest(self._registry)
