"""What HTTP servers do wrong, one fault a row, over real sockets and through the real engine.

Each fault is met twice. Beside an honest server it costs nothing but time: every file completes.
Alone it ends the fetch with an error that names it, or is overcome; and one more run against the
healed server completes with every byte right, whatever the first one left behind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from grokdist.errors import DigestMismatchError, GrokdistError, NoSourceError
from grokdist.transfer.engine import fetch
from grokdist.transfer.sources.https import HttpsSource
from tests.servers.raw_server import RawServer, honest
from tests.servers.wrong_answers import WrongAnswers
from tests.transfer.models import HASTY, QUICK_HTTP, assert_complete, content, plan_for

FILES = {"a": content("a", 200_000), "b": content("b", 300_000)}
PATIENCE = replace(HASTY, stall=0.5, idle=0.2)
SCRIPTS = WrongAnswers(files=FILES, half=100_000).scripts

GOOD = honest(FILES)


@dataclass(frozen=True)
class Fault:
    """One row: how a fetch from such a server alone ends (None: it completes).

    ``slots`` of 1 has every request go over one connection.
    """

    error: type[GrokdistError] | None = None
    says: str = ""
    slots: int = 2


ROWS: dict[str, Fault] = {
    "truncates": Fault(NoSourceError, "at 100000 of"),
    "resets": Fault(NoSourceError, "the connection broke at 100000 of|at 100000 of"),
    "stalls": Fault(NoSourceError, "nothing arrives"),
    "never answers": Fault(NoSourceError, "nothing arrives"),
    "drips": Fault(NoSourceError, "nothing arrives"),
    "drips headers": Fault(NoSourceError, "nothing arrives"),
    "200 to a range": Fault(),
    "range of others": Fault(NoSourceError, "answered bytes 99999-.*of a request for 100000-"),
    "range too far": Fault(NoSourceError, "answered bytes 100000-200004 of"),
    "range of another length": Fault(NoSourceError, "answered bytes 100000-199999 of"),
    "range of another total": Fault(DigestMismatchError, "got 7 bytes"),
    "range of junk": Fault(NoSourceError, r"without saying which \('junk'\)"),
    "length too small": Fault(DigestMismatchError, "got 199990 bytes"),
    "length too large": Fault(DigestMismatchError, "got 200010 bytes"),
    "length negative": Fault(NoSourceError, "sent the length '-5'"),
    "length in words": Fault(NoSourceError, "sent the length 'many'"),
    "two lengths": Fault(NoSourceError, "the answer contradicts itself"),
    "no length": Fault(),
    "no length, short": Fault(NoSourceError, "ended at 100000 of"),
    "chunked": Fault(),
    "bad chunks": Fault(NoSourceError, "the connection broke at"),
    "web page": Fault(
        DigestMismatchError,
        "got 18 bytes",
    ),
    "web page without length": Fault(
        NoSourceError,
        "a web page in place of the file",
    ),
    "garbage": Fault(NoSourceError, "not HTTP"),
    "nothing": Fault(NoSourceError, "the connection broke"),
    "endless headers": Fault(NoSourceError, "the connection broke"),
    "endless header line": Fault(NoSourceError, "the connection broke"),
    "endless body": Fault(),
    "endless interim answers": Fault(NoSourceError, "nothing arrives|broke"),
    "gzip": Fault(NoSourceError, "encoded as 'gzip'"),
    "redirect loop": Fault(NoSourceError, "more than 5 redirects"),
    "redirect to a file": Fault(
        NoSourceError,
        "redirected to file:, expected https",
    ),
    "redirect to junk": Fault(
        NoSourceError,
        "redirected to what is not a URL",
    ),
    "redirect to nowhere": Fault(
        NoSourceError,
        r"127\.0\.0\.1:9/x: connection refused",
    ),
    "changes midway": Fault(DigestMismatchError, "is not what the manifest names"),
    "larger": Fault(DigestMismatchError, "got 200001 bytes"),
    "smaller": Fault(DigestMismatchError, "got 199999 bytes"),
    "empty": Fault(DigestMismatchError, "got 0 bytes"),
    "wrong bytes": Fault(DigestMismatchError, "is not what the manifest names"),
    "poisons the connection": Fault(slots=1),
    "401": Fault(NoSourceError, "asks for a login"),
    "403": Fault(NoSourceError, "forbids it"),
    "404": Fault(NoSourceError, "has not got it"),
    "204": Fault(NoSourceError, "HTTP 204"),
    "304": Fault(NoSourceError, "HTTP 304"),
    "416": Fault(NoSourceError, "fewer bytes"),
    "500": Fault(NoSourceError, "HTTP 500"),
    "503": Fault(NoSourceError, "HTTP 503"),
    "999": Fault(NoSourceError, "HTTP 999"),
}


def _mirror(server: RawServer, slots: int = 2) -> HttpsSource:
    return HttpsSource(server.url, slots=slots, settings=QUICK_HTTP)


@pytest.mark.parametrize("name", ROWS)
def test_beside_an_honest_server_nothing_is_lost(tmp_path: Path, name: str) -> None:
    with RawServer(SCRIPTS[name]) as bad, RawServer(GOOD) as good:
        fetch(plan_for(FILES, tmp_path, _mirror(bad), _mirror(good)), patience=PATIENCE)
    assert_complete(tmp_path, FILES)


@pytest.mark.parametrize("name", ROWS)
def test_alone_it_is_named_and_a_healed_server_completes(tmp_path: Path, name: str) -> None:
    fault = ROWS[name]
    with RawServer(SCRIPTS[name]) as server:
        if fault.error is None:
            fetch(plan_for(FILES, tmp_path, _mirror(server, fault.slots)), patience=PATIENCE)
        else:
            with pytest.raises(fault.error, match=fault.says) as caught:
                fetch(plan_for(FILES, tmp_path, _mirror(server, fault.slots)), patience=PATIENCE)
            assert "secret" not in str(caught.value)
            server.script = GOOD
            fetch(plan_for(FILES, tmp_path, _mirror(server, fault.slots)), patience=PATIENCE)
    assert_complete(tmp_path, FILES)
