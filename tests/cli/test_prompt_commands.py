"""The ``/`` commands, the history and the settings of the prompt loop, without a model."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from grokdist.cli.generation_settings import GenerationSettings
from grokdist.cli.prompt_commands import COMMANDS, Session, run_command
from grokdist.cli.prompt_history import KEPT, PromptHistory
from grokdist.errors import StoreError, UsageError
from grokdist_runtime.errors import PromptError
from grokdist_runtime.sampling import SamplingParams


@pytest.fixture
def session() -> Session:
    settings = GenerationSettings(sampling=SamplingParams(seed=1), max_tokens=8)
    return Session(model="tiny: Apache-2.0", settings=settings)


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("/temperature 0.5", "temperature", 0.5),
        ("/top-p 0.9", "top_p", 0.9),
        ("/top-k 40", "top_k", 40),
        ("/min-p 0.1", "min_p", 0.1),
        ("/seed 7", "seed", 7),
        ("/max-tokens  12 ", "max_tokens", 12),
        ("/stop the end", "stop", ["the end"]),
        ("/logprobs 3", "logprobs", 3),
    ],
)
def test_a_setting_is_set_and_shown(session: Session, line: str, name: str, value: object) -> None:
    assert run_command(session, line)
    assert session.settings.document()[name] == value
    shown = run_command(session, "/settings")
    assert f"{name.replace('_', '-')} {value}" in shown.splitlines()


def test_settings_add_up_and_go_back(session: Session) -> None:
    run_command(session, "/stop one")
    run_command(session, "/stop two")
    assert session.settings.stop == ("one", "two")
    run_command(session, "/stop")
    assert session.settings.stop == ()
    run_command(session, "/logprobs 0")
    assert session.settings.logprobs == 0
    run_command(session, "/logprobs")
    assert session.settings.logprobs is None
    before = session.settings.sampling.seed
    run_command(session, "/seed")
    assert session.settings.sampling.seed != before
    assert run_command(session, "/stats") == "stats on"
    assert run_command(session, "/stats off") == "stats off"
    assert run_command(session, "/model") == "tiny: Apache-2.0"
    assert run_command(session, "/quit") == ""
    assert session.over


@pytest.mark.parametrize(
    ("line", "error", "words"),
    [
        ("/temprature 1", UsageError, "/temprature is no command; expected one of /help"),
        ("/", UsageError, "/ is no command"),
        ("/temperature", UsageError, "/temperature was given ''; expected X"),
        ("/help me", UsageError, "/help was given 'me'; expected nothing after it"),
        ("/temperature hot", UsageError, "expected a number"),
        ("/top-k 1.5", UsageError, "expected an integer"),
        ("/temperature -1", PromptError, "temperature is -1.0; expected a number from 0"),
        ("/top-p 0", PromptError, "top_p is 0"),
        ("/max-tokens 0", PromptError, "max_tokens is 0; expected an integer of at least 1"),
        ("/logprobs 21", PromptError, "logprobs is 21; expected an integer from 0 to 20"),
        ("/keep maybe", UsageError, "expected on or off"),
        ("/save x", UsageError, "nothing has been answered yet"),
    ],
)
def test_what_makes_no_sense_is_a_sentence_and_changes_nothing(
    session: Session, line: str, error: type[Exception], words: str
) -> None:
    before = session.settings
    with pytest.raises(error) as caught:
        run_command(session, line)
    assert words in str(caught.value)
    assert session.settings == before


def test_help_names_every_command(session: Session) -> None:
    shown = run_command(session, "/help")
    assert all(f"/{name}" in shown for name in COMMANDS)


def test_texts_are_kept_only_when_asked(session: Session, tmp_path: Path) -> None:
    session.answered("Once", " upon a time")
    assert session.prompt("Then") == "Then"
    run_command(session, "/keep on")
    session.answered(session.prompt("To be"), ", or not")
    assert session.prompt("Then") == "To be, or not\nThen"
    assert session.prompt("") == "To be, or not"
    session.answered(session.prompt(""), " to be")
    assert session.text == "To be, or not to be"
    run_command(session, "/reset")
    assert session.prompt("Then") == "Then"
    file = tmp_path / "texts.txt"
    run_command(session, f"/save {file}")
    assert file.read_text() == "Once upon a time\n\nTo be, or not\n\nTo be, or not to be\n"
    with pytest.raises(UsageError, match="is there already"):
        run_command(session, f"/save {file}")
    with pytest.raises(StoreError, match="cannot be written"):
        run_command(session, f"/save {tmp_path / 'no/such/folder'}")


def test_history_is_private_bounded_and_shared(tmp_path: Path) -> None:
    path = tmp_path / "state/history"
    first, second = PromptHistory(path), PromptHistory(path)
    for number in range(KEPT + 10):
        (first if number % 2 else second).add(f"line {number}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = PromptHistory(path).lines
    assert (len(found), found[0], found[-1]) == (KEPT, "line 10", f"line {KEPT + 9}")
    assert path.read_text().count("\n") == KEPT
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    PromptHistory(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_history_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("mine\n")
    (tmp_path / "history").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="no file of yours"):
        PromptHistory(tmp_path / "history")
    assert (tmp_path / "elsewhere").read_text() == "mine\n"
