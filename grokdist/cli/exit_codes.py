"""The exit codes, and which error ends with which.

README's table is checked against ``ExitCode`` and ``MEANINGS`` by a test.
"""

from __future__ import annotations

import errno
from enum import IntEnum

from grokdist import errors


class ExitCode(IntEnum):
    """What a command says to the shell."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    TRUST = 10
    DIGEST = 11
    POLICY = 12
    UNKNOWN_MODEL = 13
    NO_SOURCE = 14
    RESOURCES = 15
    INTERRUPTED = 130


MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "ok",
    ExitCode.FAILURE: "other failure",
    ExitCode.USAGE: "usage",
    ExitCode.TRUST: "signature or trust",
    ExitCode.DIGEST: "digest or size mismatch, unsafe or malformed shard",
    ExitCode.POLICY: "licence or policy refused",
    ExitCode.UNKNOWN_MODEL: "unknown model or manifest",
    ExitCode.NO_SOURCE: "no source reachable",
    ExitCode.RESOURCES: "not enough disk or device memory",
    ExitCode.INTERRUPTED: "interrupted",
}

# The first class that matches wins, so subclasses stand before their base. The runtime's errors
# are named rather than imported: importing the runtime for a failed `fetch` would cost more than
# the command itself.
_BY_CLASS: tuple[tuple[type[Exception], ExitCode], ...] = (
    (errors.UsageError, ExitCode.USAGE),
    (errors.TrustError, ExitCode.TRUST),
    (errors.DigestMismatchError, ExitCode.DIGEST),
    (errors.UnsafePathError, ExitCode.DIGEST),
    (errors.PolicyError, ExitCode.POLICY),
    (errors.UnknownModelError, ExitCode.UNKNOWN_MODEL),
    (errors.NoSourceError, ExitCode.NO_SOURCE),
    (errors.SourceError, ExitCode.NO_SOURCE),
    (errors.ResourceError, ExitCode.RESOURCES),
)
_RUNTIME_BY_NAME: dict[str, ExitCode] = {
    "UnsafeShardError": ExitCode.DIGEST,
    "CheckpointError": ExitCode.DIGEST,
    "OutputError": ExitCode.FAILURE,
    "PromptError": ExitCode.USAGE,
    "RequantisationError": ExitCode.USAGE,
    "DeviceError": ExitCode.RESOURCES,
    "ClusterUsageError": ExitCode.USAGE,
}


def out_of_room(error: BaseException | None) -> bool:
    """True where an error is, or was raised because of, a disk that is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False


def exit_code_for(error: Exception) -> ExitCode:
    """The exit code that an error ends with; ``FAILURE`` for those without one of their own."""
    # Whatever could not be written, and whoever found it out.
    if out_of_room(error):
        return ExitCode.RESOURCES
    for kind, code in _BY_CLASS:
        if isinstance(error, kind):
            return code
    for base in type(error).__mro__:
        if base.__name__ in _RUNTIME_BY_NAME:
            return _RUNTIME_BY_NAME[base.__name__]
    return ExitCode.FAILURE
