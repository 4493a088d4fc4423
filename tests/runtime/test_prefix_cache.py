"""Which beginnings are kept, found and let go."""

from __future__ import annotations

from typing import Any

import numpy as np

from grokdist_runtime.prefix_cache import PrefixCache, common_prefix


def tokens(text: str) -> np.ndarray[Any, np.dtype[np.int32]]:
    return np.array([ord(letter) for letter in text], np.int32)


def filled(max_bytes: int, *texts: str) -> PrefixCache[str]:
    cache = PrefixCache[str](max_bytes)
    for text in texts:
        cache.add(tokens(text), text, 10)
    return cache


def test_the_longest_common_beginning_is_found() -> None:
    cache = filled(100, "abx", "abcde", "b")
    assert cache.longest(tokens("abcxyz")) == ("abcde", 3)
    assert cache.longest(tokens("abcdefg")) == ("abcde", 5)
    assert cache.longest(tokens("ab")) == ("abx", 2)
    assert cache.longest(tokens("x")) == (None, 0)
    assert cache.longest(tokens("")) == (None, 0)


def test_what_is_unused_for_longest_goes_first() -> None:
    cache = filled(30, "a", "b", "c")
    cache.longest(tokens("a"))
    cache.add(tokens("d"), "d", 10)
    assert cache.longest(tokens("b")) == (None, 0)
    assert [cache.longest(tokens(text))[1] for text in "acd"] == [1, 1, 1]
    assert (len(cache), cache.bytes) == (3, 30)


def test_of_texts_that_continue_each_other_the_longest_is_kept() -> None:
    cache = filled(100, "ab", "abc", "x")
    assert (len(cache), cache.bytes) == (2, 20)
    assert cache.covers(tokens("ab"))
    assert not cache.covers(tokens("abcd"))
    cache.add(tokens("a"), "a", 10)
    assert cache.longest(tokens("a")) == ("abc", 1)
    assert cache.bytes == 20


def test_nothing_is_kept_that_does_not_fit() -> None:
    cache = filled(15, "a")
    cache.add(tokens("b"), "b", 16)
    assert not cache.fits(16)
    assert (len(cache), cache.bytes) == (0, 0)
    assert filled(0, "a").longest(tokens("a")) == (None, 0)


def test_common_prefix() -> None:
    assert common_prefix(tokens("abc"), tokens("abd")) == 2
    assert common_prefix(tokens("abc"), tokens("abc")) == 3
    assert common_prefix(tokens("abc"), tokens("x")) == 0
