"""Stop strings in text that comes in any pieces."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grokdist_runtime.errors import PromptError
from grokdist_runtime.stop_strings import StopStrings

LETTERS = st.text("ab", max_size=12)


@settings(deadline=None)
@given(st.lists(LETTERS, max_size=8), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_any_pieces_give_the_text_up_to_the_first_stop(pieces: list[str], stops: list[str]) -> None:
    text = "".join(pieces)
    watch = StopStrings(stops)
    shown = ""
    for piece in pieces:
        shown += watch.push(piece)
        assert not any(stop in shown for stop in stops)
    whole = shown + watch.flush()
    # In pieces the first stop to be complete counts: the shortest text that holds one.
    if watch.found:
        assert any(whole + stop == text[: len(whole) + len(stop)] for stop in stops)
        assert not any(stop in whole for stop in stops)
    else:
        assert whole == text
        assert not any(stop in text for stop in stops)


def test_text_that_cannot_start_a_stop_is_shown_at_once() -> None:
    watch = StopStrings(["\n\n"])
    assert watch.push("a") == "a"
    assert watch.push("b\n") == "b"
    assert watch.push("c") == "\nc"
    assert watch.push("d\n\ne") == "d"
    assert watch.found
    assert watch.push("f") == ""
    assert watch.flush() == ""


def test_held_text_comes_at_the_end() -> None:
    watch = StopStrings(["END"])
    assert watch.push("the EN") == "the "
    assert watch.flush() == "EN"


@pytest.mark.parametrize("stops", [[""], ["x" * 1025], ["x"] * 65])
def test_bad_stops_are_refused(stops: list[str]) -> None:
    with pytest.raises(PromptError):
        StopStrings(stops)
