"""How a model wants a conversation written down: the Jinja template that it declares, if any.

https://huggingface.co/docs/transformers/chat_templating, the form with a file of its own. The
template is text from the model's directory, so it is rendered in Jinja's sandbox, which reaches no
attribute with an underscore and changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from grokdist_runtime.errors import ConfigError, PromptError
from grokdist_runtime.server.completion_request import Message

TEMPLATE_FILE = "chat_template.jinja"
"""Name of the template in a model directory."""

_MAX_BYTES = 1 << 20
_PROBE: tuple[Message, ...] = ({"role": "user", "content": "?"},)


class ChatTemplate:
    """One template."""

    def __init__(self, source: str) -> None:
        """Compiles it and tries it on one message.

        Raises:
            ConfigError: It is no template, or fails on the simplest conversation.
        """
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
        )
        environment.globals["raise_exception"] = _refuse
        try:
            self._template = environment.from_string(source)
            self.render(_PROBE)
        except (jinja2.TemplateError, PromptError) as error:
            raise ConfigError(f"{TEMPLATE_FILE} is not usable: {error}") from error

    @classmethod
    def of(cls, directory: Path) -> ChatTemplate | None:
        """The template of a model directory; ``None`` if it declares none.

        Raises:
            ConfigError: There is one, and it is not usable.
        """
        path = directory / TEMPLATE_FILE
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
            if len(data) > _MAX_BYTES:
                raise ConfigError(f"{path} is larger than {_MAX_BYTES} bytes")
            return cls(data.decode("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {path}: {error}") from error

    def render(self, messages: Sequence[Message]) -> str:
        """A conversation as the text that the model continues.

        Raises:
            PromptError: The template refuses it.
        """
        try:
            return self._template.render(messages=list(messages), add_generation_prompt=True)
        except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise PromptError(f"the model's chat template refuses the messages: {error}") from error


def _refuse(reason: object) -> NoReturn:
    raise jinja2.TemplateError(str(reason))
