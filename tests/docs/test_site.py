"""The check of built pages knows what a browser loads by itself from what a reader follows."""

from __future__ import annotations

import pytest

from tools.build_site import requests_of_page, requests_of_style


@pytest.mark.parametrize(
    "page",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/css">',
        '<link rel="preconnect" href="https://fonts.example">',
        "<img src=http://stats.example/pixel.gif>",
        '<img srcset="a.png 1x, https://cdn.example/b.png 2x">',
        '<p style="background: url(https://cdn.example/x.png)">',
        "<style>@import 'https://cdn.example/x.css';</style>",
        "<svg><use href='https://cdn.example/x.svg#a'/></svg>",
    ],
)
def test_what_a_browser_would_load_from_elsewhere_is_found(page: str) -> None:
    assert len(requests_of_page(page)) == 1


@pytest.mark.parametrize(
    "page",
    [
        '<a href="https://theupdateframework.io">TUF</a>',
        '<link rel="stylesheet" href="_static/furo.css?v=1">',
        '<link rel="canonical" href="https://docs.example/">',
        '<img src="data:image/png;base64,AAAA//8=">',
        '<img src="../_images/openness.png">',
    ],
)
def test_what_is_here_or_waits_for_a_click_is_not(page: str) -> None:
    assert requests_of_page(page) == []


def test_style_sheets() -> None:
    assert requests_of_style("a{background:url('https://cdn.example/x.woff')}")
    assert not requests_of_style("a{background:url(fonts/x.woff)} /* https://example.org */")
