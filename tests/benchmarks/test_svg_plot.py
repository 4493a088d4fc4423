"""Plots are well-formed, and what they draw stands where its value says."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from benchmarks.svg_plot import Axis, Series, bar_plot, line_plot

SVG = "{http://www.w3.org/2000/svg}"


def parse(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)  # noqa: S314  made here


def texts(root: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def test_a_line_goes_through_its_points() -> None:
    ys = [1.0, 10.0, None, 100.0]
    series = [Series(label="ours & <theirs>", xs=[1, 2, 3, 4], ys=ys), Series(label="b", ys=[])]
    root = parse(line_plot("a < b", series[:1], x=Axis(label="GB"), y=Axis(label="t/s", log=True)))
    path = next(e for e in root.iter(f"{SVG}path") if e.get("class") == "line c0")
    points = [tuple(map(float, p.split(","))) for p in path.get("d", "")[1:].split("L")]
    assert len(points) == 3, "a missing value has no point"
    (x1, y1), (x2, y2), (x4, y4) = points
    assert x4 - x2 == pytest.approx(2 * (x2 - x1), abs=0.3)
    assert y1 - y2 == pytest.approx(y2 - y4, abs=0.3), "equal ratios are equally far apart"
    assert {"a < b", "GB", "t/s", "ours & <theirs>"} <= set(texts(root))


def test_bars_are_as_high_as_their_values() -> None:
    series = [
        Series(label="ours", ys=[10.0, 20.0], spread=[(9, 11), None]),
        Series(label="theirs", ys=[5.0, None]),
    ]
    root = parse(bar_plot("speed", ["0.2 GB", "1 GB"], series, y=Axis(label="tokens/s")))
    heights = [float(e.get("height", "0")) for e in root.iter(f"{SVG}rect")]
    assert heights == pytest.approx([heights[0], heights[0] / 2, heights[0] * 2], abs=0.2)
    assert {"0.2 GB", "1 GB", "10", "20", "5", "tokens/s"} <= set(texts(root))
    assert sum(e.get("class") == "spread c0" for e in root.iter(f"{SVG}path")) == 1


def test_both_themes_have_their_own_colours() -> None:
    svg = bar_plot("t", ["a"], [Series(label="l", ys=[1.0])], y=Axis(label="y"))
    light, dark = re.findall(r"\.fill\.c0\{fill:(#\w+)\}", svg)
    assert light != dark
    assert "@media (prefers-color-scheme:dark)" in svg


@pytest.mark.parametrize(
    ("series", "message"),
    [
        ([], "0 series"),
        ([Series(label="a", xs=[], ys=[])], "no values"),
        ([Series(label="a", xs=[1], ys=[0.0])], "above 0"),
    ],
)
def test_what_cannot_be_drawn_is_said(series: list[Series], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        line_plot("t", series, x=Axis(label="x"), y=Axis(label="y", log=True))
