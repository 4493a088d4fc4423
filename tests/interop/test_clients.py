"""Our torrents in other clients and theirs in ours: real programs, every byte compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.clients import CLIENTS, PACKAGES, PROGRAMS, Client
from tests.interop.exchange import by_tracker, cases, theirs_made, there_and_back


def _require(*programs: str) -> None:
    for program in programs:
        if PROGRAMS[program] is None:
            pytest.skip(f"{program} is not installed (Debian package {PACKAGES[program]})")


@pytest.mark.parametrize(
    ("client", "version"), list(cases()), ids=lambda value: getattr(value, "program", value)
)
def test_there_and_back(client: Client, version: str, tmp_path: Path) -> None:
    _require(client.program)
    there_and_back(client, version, tmp_path)


@pytest.mark.parametrize("scheme", ["http", "udp"])
@pytest.mark.parametrize(
    ("client", "version"),
    [(CLIENTS[0], "v1"), (CLIENTS[2], "hybrid")],
    ids=lambda value: getattr(value, "program", value),
)
def test_by_opentracker(client: Client, version: str, scheme: str, tmp_path: Path) -> None:
    _require(client.program, "opentracker")
    by_tracker(client, version, tmp_path, scheme)


def test_a_torrent_that_transmission_made(tmp_path: Path) -> None:
    _require("transmission-create", "transmission-cli")
    theirs_made(CLIENTS[1], tmp_path)
