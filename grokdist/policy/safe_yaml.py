"""YAML from hostile bytes: bounded, every scalar a string, nothing constructed.

Turns bytes into plain dictionaries, lists, strings and None, or raises ``MalformedYamlError``.
The reading is PyYAML's safe loader; what files of this kind never need is refused before it builds
anything: anchors and aliases (a few lines of them expand to gigabytes), tags, a second document,
duplicate keys. Scalars stay strings, since YAML 1.1 makes a number of ``1.10``, a boolean of
``no`` and a date of ``2024-03-17``.
"""

from __future__ import annotations

from typing import Any

import yaml

from grokdist.errors import GrokdistError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 16
MAX_NODES = 20_000

_NULL = "tag:yaml.org,2002:null"


class MalformedYamlError(GrokdistError):
    """Bytes are not YAML as this project accepts it; the message says where and why."""


def load(data: bytes) -> Any:
    """Parse one YAML document.

    Raises:
        MalformedYamlError: it is too large, too deep, no YAML, or uses what is refused here.
    """
    if len(data) > MAX_BYTES:
        raise MalformedYamlError(f"more than {MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedYamlError(f"byte {error.start} is not UTF-8") from error
    try:
        return yaml.load(text, _Loader)  # noqa: S506  (a subclass of the safe loader)
    except yaml.YAMLError as error:
        raise MalformedYamlError(f"not YAML: {_place(error)}") from error


class _Loader(yaml.SafeLoader):
    """The safe loader, within bounds, without guesses about scalars and with unique keys."""

    yaml_implicit_resolvers = {  # noqa: RUF012  (PyYAML's own way to set it)
        first: [(tag, pattern) for tag, pattern in resolvers if tag == _NULL]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._nodes = self._documents = 0

    def get_event(self) -> Any:
        """The next event, checked: nothing is built of what goes beyond the bounds."""
        event = super().get_event()  # type: ignore[no-untyped-call]
        self._check(event)
        return event

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node; a key that comes twice would make one of the two invisible."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if not all(isinstance(key, str) for key in keys) or len(set(keys)) < len(keys):
            raise MalformedYamlError(
                f"line {_line(node.start_mark)}: expected keys that are text, each once"
            )
        return super().construct_mapping(node, deep=deep)

    def _check(self, event: Any) -> None:
        line = _line(event.start_mark)
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise MalformedYamlError(f"line {line}: a second document; expected one")
        if isinstance(event, yaml.NodeEvent):
            self._nodes += 1
            if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
                raise MalformedYamlError(f"line {line}: an anchor or alias; expected plain values")
            if getattr(event, "tag", None) is not None:
                raise MalformedYamlError(f"line {line}: a tag; expected plain values")
        if isinstance(event, yaml.CollectionStartEvent):
            self._depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            self._depth -= 1
        if self._depth > MAX_DEPTH:
            raise MalformedYamlError(f"line {line}: nested deeper than {MAX_DEPTH} levels")
        if self._nodes > MAX_NODES:
            raise MalformedYamlError(f"line {line}: more than {MAX_NODES} values")


def _line(mark: Any) -> int:
    """A line as editors count; 0 where the parser did not say."""
    return 0 if mark is None else int(mark.line) + 1


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "it cannot be read"
    return f"{problem} (line {_line(mark)})" if mark is not None else str(problem)
