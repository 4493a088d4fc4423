"""The fault table is made by runs that can lose, and says so when they do."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest

from benchmarks import fault_run, faults
from benchmarks.fault_run import Row, Run, run_row
from benchmarks.faults import main, table
from grokdist.transfer.sources.local import LocalSource
from tests.transfer.http.test_faults import FILES


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    folder.mkdir()
    for path, data in FILES.items():
        (folder / path).write_bytes(data)
    return folder


def test_one_row_end_to_end(tmp_path: Path) -> None:
    assert main(["--runs", "1", "--only", "redirect loop", "--output", str(tmp_path / "t")]) == 0
    page = (tmp_path / "t").read_text()
    assert "| redirect loop | 2 | NoSourceError 1, complete 1 | 0 |" in page
    assert "2 fetches met a fault, each followed by one more without it; losses: 0." in page


def test_a_wrong_file_under_its_name_is_a_loss(tmp_path: Path) -> None:
    def spoil(run: Run, home: Path, _: int) -> None:
        with mock.patch.object(fault_run, "fetch"):
            (home / "a").write_bytes(b"x")
            run.meet(home)
            run.once_more(home)

    row = Row(name="spoils", meet=spoil)
    run = run_row(row, tmp_path, 2)
    assert [each.partition(": ")[2] for each in run.losses] == [
        "a has a wrong byte under its name",
        "there is no receipt after one more run",
    ] * 2
    page = table([(row, run)], 2)
    assert "| spoils | 2 | complete 2 | 4 |" in page
    assert "losses: 4." in page


def test_a_file_that_one_more_run_does_not_bring_is_a_loss(tmp_path: Path, copy: Path) -> None:
    def spoil(run: Run, home: Path, _: int) -> None:
        run.once_more(home, LocalSource(copy))
        assert run.losses == []
        (home / "a").unlink()
        (home / "b").write_bytes(b"other")
        with mock.patch.object(fault_run, "fetch"):
            run.once_more(home)

    losses = run_row(Row(name="spoils", meet=spoil), tmp_path, 1).losses
    assert losses == [f"run 0: {path} is not right after one more run" for path in "ab"]


def test_a_receipt_that_is_not_true_is_a_loss(tmp_path: Path, copy: Path) -> None:
    def forge(run: Run, home: Path, _: int) -> None:
        run.once_more(home, LocalSource(copy))
        (home / "b").write_bytes(b"other")
        run.files = {"a": FILES["a"], "b": b"other"}
        with mock.patch.object(fault_run, "fetch"):
            run.once_more(home)

    losses = run_row(Row(name="forges", meet=forge), tmp_path, 1).losses
    assert losses == ["run 0: the receipt is not true of b"]


def test_an_end_that_is_no_error_of_ours_is_a_loss(tmp_path: Path) -> None:
    def crash(run: Run, home: Path, _: int) -> None:
        with mock.patch.object(fault_run, "fetch", side_effect=ZeroDivisionError):
            run.meet(home)
        raise KeyError

    run = run_row(Row(name="crashes", meet=crash), tmp_path, 1)
    assert [each.partition(":")[2].split(":")[0].strip() for each in run.losses] == [
        "crashed",
        "the run itself failed",
    ]


def test_a_loss_is_the_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(run: Run, home: Path, _: int) -> None:
        run.losses.append("lost")

    monkeypatch.setattr(faults, "rows", lambda _: [Row(name="loses", meet=lose)])
    assert main(["--runs", "1", "--output", str(tmp_path / "t")]) == 1


def test_every_fault_of_the_http_table_is_met() -> None:
    """But for refusals by status and what is no fault."""
    met = {name for names in faults._HTTP.values() for name in names}
    assert met <= faults.ROWS.keys()
    left = {name for name in faults.ROWS.keys() - met if not name.isdigit()}
    assert left == {"chunked", "no length"}
