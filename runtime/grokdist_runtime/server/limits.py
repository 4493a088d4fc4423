"""How much one client may ask of the server."""

from __future__ import annotations

import dataclasses

MAX_CHOICES = 16
MAX_BODY_BYTES = 4 << 20
TIMEOUT_S = 600.0
BODY_TIMEOUT_S = 30.0
HEADER_TIMEOUT_S = 20.0
GRACE_S = 10.0
MAX_CONNECTIONS = 512


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds; what is beyond is refused with a sentence.

    How many texts are generated at once, and how many requests wait, are the scheduler's.

    Attributes:
        max_body_bytes: Of a request's body.
        max_prompt_tokens: Of each prompt; ``None``: what the context has room for.
        max_tokens: To generate for each choice; ``None``: what the context has room for.
        max_choices: Prompts times ``n`` of one request.
        timeout_s: Seconds from a request's arrival to the end of its answer.
        body_timeout_s: Seconds for a body to arrive.
        header_timeout_s: Seconds for the head of a request to arrive, and that a connection may
            stay open without one.
        max_connections: Open at once; more are answered with 503.
        grace_s: Seconds that answers may still take once the server is to end.
    """

    max_body_bytes: int = MAX_BODY_BYTES
    max_prompt_tokens: int | None = None
    max_tokens: int | None = None
    max_choices: int = MAX_CHOICES
    timeout_s: float = TIMEOUT_S
    body_timeout_s: float = BODY_TIMEOUT_S
    header_timeout_s: float = HEADER_TIMEOUT_S
    max_connections: int = MAX_CONNECTIONS
    grace_s: float = GRACE_S
