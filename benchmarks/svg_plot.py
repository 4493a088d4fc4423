"""Line and bar plots as hand-written SVG: one file, no script, readable on light and dark pages.

A plot is text that stands in the repository beside its figures, so a change shows as a difference
of numbers. Colours follow the reader's theme by ``prefers-color-scheme``; each series also has its
own marker, so that no reader needs the colours. Logarithmic axes take positive values only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 720, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 24, 72, 56
_INNER_WIDTH, _INNER_HEIGHT = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
_LIGHT = ("#1f6fd0", "#d9551e", "#12855a", "#7a4fc9", "#946300")
_DARK = ("#6aa9f4", "#f59163", "#45c998", "#b297f0", "#e0b04c")
_MARKERS = (
    "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z",  # circle
    "M-4,-4h8v8h-8z",  # square
    "M0,-5l5,9h-10z",  # triangle
    "M0,-5.5l5.5,5.5l-5.5,5.5l-5.5,-5.5z",  # diamond
    "M-5,-4h10l-5,9z",  # triangle, point down
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Series:
    """One line, or the bars of one colour.

    Attributes:
        label: Its name in the legend.
        ys: Its values; ``None`` where there is none.
        xs: Where they stand on the x axis; for bars their groups in order, so left empty.
        spread: Least and most for each value, drawn as a thin line; empty for none.
    """

    label: str
    ys: Sequence[float | None]
    xs: Sequence[float] = ()
    spread: Sequence[tuple[float, float] | None] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis.

    Attributes:
        label: What it counts, with its unit.
        log: Whether it is logarithmic.
        ticks: Where to write a number; empty to choose round ones.
    """

    label: str
    log: bool = False
    ticks: Sequence[float] = ()


def line_plot(title: str, series: Sequence[Series], *, x: Axis, y: Axis) -> str:
    """Lines through points; the y axis starts at 0 unless it is logarithmic.

    Args:
        title: One line above the plot.
        series: At most five lines.
        x: The horizontal axis.
        y: The vertical axis.

    Returns:
        An SVG document.

    Raises:
        ValueError: There is nothing to draw, too many series, or a log axis of values below 0.
    """
    up = _y_scale(series, y)
    across = _Scale.fit([value for one in series for value in one.xs], x, _LEFT, _INNER_WIDTH)
    body = [*_y_ticks(up), *_x_ticks(across)]
    for number, one in enumerate(series):
        points = [
            (across.at(place), up.at(value), value, index)
            for index, (place, value) in enumerate(zip(one.xs, one.ys, strict=True))
            if value is not None
        ]
        path = "M" + "L".join(f"{_n(px)},{_n(py)}" for px, py, _, _ in points)
        body.append(f'<path class="line c{number}" d="{path}"/>')
        for px, py, value, index in points:
            body.extend(_spread(one, index, px, up, number))
            body.append(_marker(px, py, number, f"{one.label}: {_number(value)}"))
    return _document(title, series, x, y, body)


def bar_plot(title: str, groups: Sequence[str], series: Sequence[Series], *, y: Axis) -> str:
    """Groups of bars, one bar of each series in a group, with its value above it.

    Args:
        title: One line above the plot.
        groups: Names under the groups.
        series: At most five, each with a value (or ``None``) for each group.
        y: The vertical axis; starts at 0 unless it is logarithmic.

    Returns:
        An SVG document.

    Raises:
        ValueError: There is nothing to draw, too many series, or a log axis of values below 0.
    """
    up = _y_scale(series, y)
    body = list(_y_ticks(up))
    step = _INNER_WIDTH / len(groups)
    width = min(64.0, 0.8 * step / len(series))
    for place, name in enumerate(groups):
        middle = _LEFT + step * (place + 0.5)
        body.append(_text(middle, _HEIGHT - _BOTTOM + 18, name, "middle"))
        for number, one in enumerate(series):
            value = one.ys[place]
            if value is None:
                continue
            left = middle + width * (number - len(series) / 2)
            top, foot = up.at(value), up.start
            body.append(
                f'<rect class="fill c{number}" x="{_n(left + 1)}" y="{_n(top)}" '
                f'width="{_n(width - 2)}" height="{_n(max(foot - top, 0.5))}"/>'
            )
            body.extend(_spread(one, place, left + width / 2, up, number))
            most = one.spread[place] if one.spread else None
            label_y = min(top, up.at(most[1]) if most else top) - 5
            body.append(_text(left + width / 2, label_y, _number(value), "middle", "value"))
    return _document(title, series, Axis(label=""), y, body)


def write_plot(path: Path, svg: str) -> None:
    """Writes a plot, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(svg, "utf-8")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Scale:
    """From values to pixels: ``low`` stands at ``start``, ``high`` at ``start + length``."""

    low: float
    high: float
    log: bool
    start: float
    length: float
    ticks: Sequence[float]

    @classmethod
    def fit(
        cls, values: Sequence[float], axis: Axis, start: float, length: float, *, zero: bool = False
    ) -> _Scale:
        if not values:
            raise ValueError(f"axis {axis.label!r} has no values; expected at least one")
        low, high = min(values), max(values)
        if axis.log:
            if low <= 0:
                raise ValueError(f"log axis {axis.label!r} starts at {low}; expected above 0")
            low, high = low / 1.25, high * 1.25
        elif zero:
            low, high = min(low, 0.0), high * 1.12 or 1.0
        else:
            room = (high - low) * 0.04 or 1.0
            low, high = low - room, high + room
        ticks = [t for t in axis.ticks or _round_ticks(low, high, axis.log) if low <= t <= high]
        return cls(low=low, high=high, log=axis.log, start=start, length=length, ticks=ticks)

    def at(self, value: float) -> float:
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + self.length * share


def _y_scale(series: Sequence[Series], axis: Axis) -> _Scale:
    if not 1 <= len(series) <= len(_MARKERS):
        raise ValueError(f"there are {len(series)} series; expected 1 to {len(_MARKERS)}")
    values = [value for one in series for value in one.ys if value is not None]
    values += [value for one in series for pair in one.spread if pair for value in pair]
    return _Scale.fit(values, axis, _HEIGHT - _BOTTOM, -_INNER_HEIGHT, zero=True)


def _round_ticks(low: float, high: float, log: bool) -> list[float]:
    """Round values between ``low`` and ``high``, about six of them."""
    if log:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        steps = (1, 2, 5) if last - first <= 3 else (1,)
        return [step * 10.0**power for power in range(first, last + 1) for step in steps]
    rough = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    return [step * count for count in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _y_ticks(scale: _Scale) -> Iterator[str]:
    for tick in scale.ticks:
        y = _n(scale.at(tick))
        yield f'<path class="grid" d="M{_LEFT},{y}H{_WIDTH - _RIGHT}"/>'
        yield _text(_LEFT - 8, scale.at(tick) + 4, _number(tick), "end")


def _x_ticks(scale: _Scale) -> Iterator[str]:
    foot = _HEIGHT - _BOTTOM
    for tick in scale.ticks:
        yield f'<path class="grid" d="M{_n(scale.at(tick))},{foot}v5"/>'
        yield _text(scale.at(tick), foot + 18, _number(tick), "middle")


def _spread(one: Series, index: int, x: float, up: _Scale, number: int) -> Iterator[str]:
    pair = one.spread[index] if one.spread else None
    if pair:
        low, high = (_n(up.at(value)) for value in pair)
        yield f'<path class="spread c{number}" d="M{_n(x)},{low}V{high}"/>'


def _marker(x: float, y: float, number: int, hint: str) -> str:
    place = f'transform="translate({_n(x)},{_n(y)})"'
    shape = f'<path class="fill c{number}" {place} d="{_MARKERS[number]}">'
    return f"{shape}<title>{escape(hint)}</title></path>"


def _document(title: str, series: Sequence[Series], x: Axis, y: Axis, body: Sequence[str]) -> str:
    middle = _TOP + _INNER_HEIGHT / 2
    foot = _HEIGHT - _BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{_style()}</style>",
        f'<path class="page" d="M0,0H{_WIDTH}V{_HEIGHT}H0z"/>',
        _text(_LEFT, 26, title, "start", "title"),
        *_legend(series),
        *body,
        f'<path class="axis" d="M{_LEFT},{_TOP}V{foot}H{_WIDTH - _RIGHT}"/>',
        _text(_LEFT + _INNER_WIDTH / 2, _HEIGHT - 12, x.label, "middle"),
        f'<text x="0" y="0" text-anchor="middle" transform="translate(18,{_n(middle)})'
        f' rotate(-90)">{escape(y.label)}</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _legend(series: Sequence[Series]) -> Iterator[str]:
    x = _LEFT + 6.0
    for number, one in enumerate(series):
        yield _marker(x, 48, number, one.label)
        yield _text(x + 11, 52, one.label, "start")
        x += 34 + 6.8 * len(one.label)


def _style() -> str:
    return (
        "text{font:13px system-ui,sans-serif;fill:#3d444d}"
        ".title{font-size:15px;font-weight:600;fill:#1f2328}.value{font-size:11.5px}"
        ".page{fill:#fff}.grid{stroke:#dfe3e8;fill:none}.axis{stroke:#8c959f;fill:none}"
        ".line{stroke-width:2;fill:none}.spread{stroke-width:1.5;fill:none}"
        + _colours(_LIGHT, "#3d444d")
        + "@media (prefers-color-scheme:dark){"
        "text{fill:#c5ccd4}.title{fill:#f0f3f6}.page{fill:#0d1117}.grid{stroke:#2a3038}"
        ".axis{stroke:#6b7580}" + _colours(_DARK, "#c5ccd4") + "}"
    )


def _colours(palette: Sequence[str], over_bars: str) -> str:
    """One rule for each series; a spread over its own bar must stand out from it."""
    rules = [
        f".line.c{n},.spread.c{n}{{stroke:{c}}}.fill.c{n}{{fill:{c}}}"
        for n, c in enumerate(palette)
    ]
    return "".join(rules) + f"rect.fill~.spread{{stroke:{over_bars}}}"


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    name = f' class="{kind}"' if kind else ""
    return f'<text{name} x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}">{escape(text)}</text>'


def _n(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def _number(value: float) -> str:
    """A value to three digits, without an exponent where that can be read."""
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        digits = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
        text = f"{value:,.{digits}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.2g}"
