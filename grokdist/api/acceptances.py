"""The record of licences accepted on this machine: which text, when, by whom, how.

One file in grokdist's home, ``acceptances.json``: by acceptance (``ID@sha256:...``), so that
another text of the same licence is another entry and is asked for again. What is withdrawn stays in
the record with the time of it. What needs acceptance is said in ``policy/acceptance.py``.
"""

from __future__ import annotations

import getpass
import json
import os
import re
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from grokdist.cursor import Cursor
from grokdist.document import Limits, load
from grokdist.errors import GrokdistError, StoreError
from grokdist.settings import home

if TYPE_CHECKING:
    from grokdist.catalog.manifest import Manifest
    from grokdist.policy.acceptance import Acceptance

RECORD = "acceptances.json"
_MAX_BYTES = 1 << 20
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """One acceptance, as it was given.

    Attributes:
        acceptance: ``ID@sha256:<hex>``, ``ID@git:<hex>`` or ``ID``.
        when: UTC time, ``YYYY-MM-DDThh:mm:ssZ``.
        who: login name on this machine; None for records of earlier versions.
        how: the words or flag by which it was given; None for records of earlier versions.
        model: the model it was given for; None for records of earlier versions.
        withdrawn: UTC time at which it was taken back; None while it holds.
    """

    acceptance: str
    when: str
    who: str | None = None
    how: str | None = None
    model: str | None = None
    withdrawn: str | None = None


def accepted(manifest: Manifest) -> str | None:
    """The recorded acceptance of exactly this licence text, if one holds."""
    from grokdist.policy.acceptance import check_acceptance

    wanted = check_acceptance(manifest, manifest.license.expression)
    holding = {each.acceptance for each in recorded() if each.withdrawn is None}
    return wanted if wanted in holding else None


def of_another_text(manifest: Manifest) -> Recorded | None:
    """The last acceptance that holds for this licence, but for another text of it."""
    from grokdist.policy.acceptance import parse_acceptance
    from grokdist.policy.licenses import normalise

    expression = normalise(manifest.license.expression)
    others = [
        each
        for each in recorded()
        if each.withdrawn is None and parse_acceptance(each.acceptance).expression == expression
    ]
    return max(others, key=lambda each: each.when, default=None)


def remember(acceptance: str, *, model: str, how: str) -> None:
    """Add an acceptance to the record; one that holds already stays as it is.

    Raises:
        StoreError: the record cannot be read or written.
    """
    records = {each.acceptance: each for each in recorded()}
    before = records.get(acceptance)
    if before is not None and before.withdrawn is None:
        return
    records[acceptance] = Recorded(
        acceptance=acceptance, when=_now(), who=_user(), how=how, model=model
    )
    _write(records)


def withdraw(named: Acceptance) -> list[Recorded]:
    """Take back every acceptance that holds of a licence, or of one text of it.

    Returns:
        what was taken back.

    Raises:
        StoreError: the record cannot be read or written.
    """
    from grokdist.policy.acceptance import parse_acceptance

    records = {each.acceptance: each for each in recorded()}
    now, taken = _now(), []
    for key, each in records.items():
        given = parse_acceptance(key)
        whole = named.sha256 is None and named.git_blob is None
        same = given.expression == named.expression if whole else given == named
        if each.withdrawn is None and same:
            records[key] = replace(each, withdrawn=now)
            taken.append(records[key])
    if taken:
        _write(records)
    return taken


def recorded() -> list[Recorded]:
    """All acceptances, in the order in which they were first given.

    Raises:
        StoreError: the record is not one.
    """
    from grokdist.policy.acceptance import parse_acceptance
    from grokdist.transfer.tree import ModelTree

    if not home().is_dir():
        return []
    with ModelTree(home()) as tree:
        data = tree.read_small(RECORD, _MAX_BYTES)
    if data is None:
        return []
    try:
        top = Cursor(load(data, Limits(size=_MAX_BYTES, depth=4)), noun="record", kind=StoreError)
        found = [_parse(key, top[key]) for key in top.members()]
        for each in found:
            parse_acceptance(each.acceptance)
    except (GrokdistError, ValueError) as error:
        path = home() / RECORD
        raise StoreError(
            f"{path} is not a record of acceptances: {error}", hint=f"rm {path}"
        ) from error
    return found


def _parse(key: str, entry: Cursor) -> Recorded:
    def time(cursor: Cursor) -> str:
        return cursor.match(_TIME, "a UTC time")

    if isinstance(entry.value, str):
        # Earlier versions kept the time alone.
        return Recorded(acceptance=key, when=time(entry))
    return Recorded(
        acceptance=key,
        when=time(entry["when"]),
        who=entry.optional("who", Cursor.text),
        how=entry.optional("how", Cursor.text),
        model=entry.optional("model", Cursor.text),
        withdrawn=entry.optional("withdrawn", time),
    )


def _write(records: dict[str, Recorded]) -> None:
    from grokdist.transfer.store import Store
    from grokdist.transfer.tree import ModelTree

    document = {key: asdict(each) for key, each in records.items()}
    for each in document.values():
        del each["acceptance"]
    Store().prepare()
    try:
        with ModelTree(home()) as tree:
            tree.write_small(RECORD, json.dumps(document, indent=2).encode())
    except OSError as error:
        raise StoreError(f"cannot record the acceptance in {home()}: {error.strerror}") from error


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _user() -> str:
    """The login name; in a container without one, the number."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        name = ""
    return name if name and name.isprintable() else f"uid {os.getuid()}"
