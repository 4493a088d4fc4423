"""Files are ordered so that the threads end together."""

from __future__ import annotations

from grokdist.transfer.tail import LARGE, in_order, left_over


def test_large_files_go_first_and_the_others_by_place() -> None:
    files = [(1, 9), (LARGE, 8), (2 * LARGE, 7), (5, 1), (LARGE, 3), (LARGE - 1, 2)]
    ordered = in_order(files, size=lambda file: file[0], place=lambda file: file[1])
    assert ordered == [(2 * LARGE, 7), (LARGE, 3), (LARGE, 8), (5, 1), (LARGE - 1, 2), (1, 9)]


def test_one_large_file_is_divided() -> None:
    assert left_over([4 * LARGE], 2, lambda at: True) == {0}
    assert left_over([4 * LARGE, 5], 2, lambda at: True) == {0}
    assert left_over([4 * LARGE], 1, lambda at: True) == set()
    assert left_over([4 * LARGE], 2, lambda at: False) == set()


def test_only_what_is_left_over_is_divided() -> None:
    assert left_over([LARGE] * 4, 2, lambda at: True) == set()
    assert len(left_over([LARGE] * 13, 2, lambda at: True)) == 1
    # Ten to one thread: the nine others have nothing to do.
    assert left_over([10 * LARGE, LARGE, LARGE], 4, lambda at: True) == {0}


def test_small_files_need_nothing() -> None:
    assert left_over([LARGE - 1] * 3, 2, lambda at: True) == set()
    assert left_over([], 2, lambda at: True) == set()


def test_what_can_be_divided_is_asked_only_where_it_matters() -> None:
    asked: list[int] = []

    def divisible(at: int) -> bool:
        asked.append(at)
        return False

    left_over([LARGE] * 5, 2, divisible)
    assert len(asked) == 1
    left_over([LARGE] * 1000, 2, divisible)
    assert len(asked) == 1
