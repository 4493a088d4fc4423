"""The runtime's errors: what was wrong with a checkpoint, a config, a prompt or a device.

Each carries a sentence a person can act on; callers decide about exit codes.
"""

from __future__ import annotations


class RuntimeModelError(Exception):
    """Root of every error the runtime raises on purpose."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UnsafeShardError(RuntimeModelError):
    """A checkpoint file is malformed, unexpected or tries to do more than hold tensors.

    Attributes:
        file: the file, as text fit to print.
        offset: where in the file, in bytes; None where it concerns the file as a whole.
        found: what stands there.
        expected: what the layout has there.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str = "",
        offset: int | None = None,
        found: str = "",
        expected: str = "",
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.file = file
        self.offset = offset
        self.found = found
        self.expected = expected


class ConfigError(RuntimeModelError):
    """A model configuration is missing a key or holds a value outside its limits."""


class RequantisationError(ConfigError):
    """A model's experts cannot be rounded to int4: they are already, or their sizes forbid it."""


class CheckpointError(RuntimeModelError):
    """A checkpoint directory does not hold the tensors that the configuration asks for."""


class OutputError(CheckpointError):
    """A file of a converted model cannot be written: nothing is wrong with any that was read."""


class TokenizerError(RuntimeModelError):
    """A tokenizer file is missing or unusable, or token ids are outside the vocabulary."""


class PromptError(RuntimeModelError):
    """A prompt is empty, too long for the context, or asks for an impossible sampling."""


class DeviceError(RuntimeModelError):
    """The devices at hand cannot hold or split the model as asked."""


class BusyError(RuntimeModelError):
    """Too many requests wait already."""


class ClosedError(BusyError):
    """The model is shutting down and takes no more requests."""


class AddressError(RuntimeModelError):
    """The server cannot listen where it was asked to."""


class ClusterError(RuntimeModelError):
    """The processes of a run did not come together, or one of them ended before its time."""


class ClusterUsageError(ClusterError):
    """Flags or environment describe no cluster, or the processes were not started alike."""
