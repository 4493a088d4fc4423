"""The command as its user has it: a process of its own, the bundled model, and the page."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from PIL import Image

from grokdist.policy.palette import DARK, LIGHT
from tests.cli.conftest import Cli, finish, spawn
from tools.headless_browser import BROWSER, Page, open_page

KEY = "correct-horse-battery-staple"
WIDTHS = (320, 390, 1280)
GENERATED = "document.querySelector('#status').textContent.startsWith('Done')"

needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium or Chrome is installed on this machine"
)


@contextlib.contextmanager
def served(repository: Path, *argv: str, **env: str) -> Iterator[tuple[Any, str]]:
    """A server of grok-mini: its process and its address."""
    child = spawn("serve", "--port", "0", "--json", *argv, cwd=repository, **env)
    try:
        assert child.stdout is not None
        lines = []
        while (line := child.stdout.readline()) != "}\n":
            assert line, child.stderr.read() if child.stderr else ""
            lines.append(line)
        yield child, str(json.loads("".join(lines) + "}")["url"])
    finally:
        if child.poll() is None:
            child.kill()
        child.communicate()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("serve")
    return {
        "GROKDIST_HOME": str(folder / "home"),
        "GROKDIST_CONFIG": str(folder / "none.toml"),
        "GROKDIST_SERVE_KERNELS": "plain",
        "NO_PROXY": "*",
    }


@pytest.fixture(scope="module")
def url(repository: Path, home: dict[str, str]) -> Iterator[str]:
    with served(repository, **home) as (_, address):
        yield address


def get(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=60) as answered:  # noqa: S310
        return answered.headers, answered.read()


def test_a_whole_life_with_a_key_that_is_never_said(
    repository: Path, home: dict[str, str], tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n")
    keys.chmod(0o644)
    options = ("--api-key-file", str(keys), "-v")
    with served(repository, *options, **home) as (child, address):
        with openai.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0) as client:
            got = client.completions.create(
                model="grok-mini", prompt="To be, or not to be", max_tokens=8, temperature=0
            )
            assert got.usage is not None
            assert got.usage.completion_tokens == 8
            with pytest.raises(openai.BadRequestError, match="grok-mini is a base model"):
                client.chat.completions.create(
                    model="grok-mini", messages=[{"role": "user", "content": "hello"}]
                )
        with (
            openai.OpenAI(base_url=f"{address}/v1", api_key=KEY + "x", max_retries=0) as wrong,
            pytest.raises(openai.AuthenticationError),
        ):
            wrong.models.list()
        child.send_signal(signal.SIGTERM)
        out, err = child.communicate(timeout=60)
    assert child.returncode == 0
    assert f"others on this machine can read {keys}" in err
    assert "POST /v1/completions" in err  # it was asked to say more
    assert "Traceback" not in err
    assert KEY not in out + err


def test_an_interrupt_ends_it_as_interrupted(repository: Path, home: dict[str, str]) -> None:
    with served(repository, **home) as (child, _):
        child.send_signal(signal.SIGINT)
        ended = finish(child)
    assert ended.code == 130
    assert "stopped" in ended.err
    assert "Traceback" not in ended.err


def test_the_provenance_is_the_manifests(url: str) -> None:
    found = json.loads(get(f"{url}/provenance")[1])
    assert found["model"] == "grok-mini"
    assert found["license"]["expression"] == "Apache-2.0"
    assert found["notice"].startswith("Apache-2.0 · ")
    assert found["openness"]["class"] == "Model Openness Framework: Class I - Open Science Model"
    assert found["verified"]["how"].startswith("every file hashed")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["verified"]["at"])
    assert found["signed_by"]["threshold"] == 2
    assert len(found["signed_by"]["keyids"]) >= 2
    assert sum(source["bytes"] for source in found["sources"]) == found["verified"]["bytes"]
    fingerprint = json.loads(get(f"{url}/v1/models")[1])["data"][0]["id"]
    assert fingerprint == "grok-mini"


def test_the_page_is_told_to_load_nothing_else(url: str) -> None:
    headers, body = get(url)
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    page = body.decode()
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page)
    for colours in (LIGHT, DARK):
        for name in ("paper", "soft", "line", "ink", "muted", "open", "restricted", "closed"):
            assert f"--{name}:{colours[name]}" in page


@pytest.mark.parametrize(
    ("argv", "env", "code", "says"),
    [
        (["--host", "0.0.0.0"], {}, 2, "others reach 0.0.0.0 and there is no API key"),  # noqa: S104
        (["--host", "203.0.113.7"], {}, 1, "cannot listen at 203.0.113.7"),
        ([], {"GROKDIST_API_KEY": "short"}, 1, "expected 16 to 512 without spaces"),
        (["--api-key-file", "/nowhere/keys"], {}, 2, "/nowhere/keys cannot be read"),
        (["--model", "grok-9"], {}, 13, "grok-9"),
    ],
)
def test_what_cannot_be_served_is_said(
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    argv: list[str],
    env: dict[str, str],
    code: int,
    says: str,
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    ended = cli("serve", "--port", "0", *argv)
    assert ended.code == code
    assert says in ended.err
    assert "short" not in ended.err


def test_a_directory_without_a_receipt_is_refused(cli: Cli, repository: Path) -> None:
    bundled = repository / "grokdist" / "bundled" / "grok-mini"
    ended = cli("serve", "--port", "0", "--model", str(bundled))
    assert ended.code == 10
    assert f"hint: grokdist serve --model {bundled} --unsafe-unverified" in ended.err


def test_a_policy_that_forbids_it_is_obeyed(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("[format]\npickle = false\n")
    monkeypatch.setenv("GROKDIST_POLICY", str(policy))
    ended = cli("serve", "--port", "0", "--model", "grok-mini")
    assert ended.code == 12
    assert "refuses" in ended.err


def test_an_absent_package_is_named(repository: Path, tmp_path: Path, home: dict[str, str]) -> None:
    """A module of that name that cannot be imported stands before the real one."""
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError('no', name='uvicorn')\n")
    ended = subprocess.run(
        [sys.executable, "-m", "grokdist", "serve"],
        env=os.environ | home | {"PYTHONPATH": f"{tmp_path}:{repository}:{repository / 'runtime'}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert ended.returncode == 1
    assert "the server needs the package uvicorn, which is not installed" in ended.stderr
    assert "hint: pip install 'grokdist[serve]'" in ended.stderr


@pytest.fixture(scope="module")
def page(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page in a browser, on a desktop."""
    with open_page(tmp_path_factory.mktemp("browser")) as opened:
        opened.show(1280, 900)
        opened.open(url)
        opened.until("document.querySelectorAll('#provenance div').length > 5")
        yield opened


@pytest.fixture(scope="module")
def answered(page: Page) -> Page:
    """The same after a click on the button has brought an answer."""
    page.evaluate(
        "window.seen = []; new MutationObserver(() =>"
        " seen.push(document.querySelectorAll('.token').length))"
        ".observe(document.querySelector('#answer'), {childList: true})"
    )
    page.evaluate("document.querySelector('#max_tokens').value = 24")
    page.evaluate("document.querySelector('#temperature').value = 0")
    page.click("#generate")
    page.until(GENERATED)
    return page


@needs_browser
def test_a_click_streams_an_answer_with_its_probabilities(answered: Page) -> None:
    seen = answered.evaluate("seen")
    assert max(seen) == 24
    assert len(set(seen)) > 3  # it came piece by piece
    shown = answered.evaluate("document.querySelector('#answer').textContent")
    assert shown.startswith("To be, or not to be, ")
    assert answered.evaluate("document.querySelector('#rate').textContent").endswith("tokens/s")
    assert answered.evaluate("document.querySelector('#first').textContent").endswith(" ms")
    assert answered.evaluate("document.querySelector('#count').textContent") == "24"
    answered.point(".token:nth-of-type(4)")
    answered.until("!document.querySelector('#detail').hidden")
    said = answered.evaluate("document.querySelector('#detail').innerText")
    assert "had a probability of" in said
    shares = [float(share) for share in re.findall(r"^([\d.]+) %$", said, re.MULTILINE)]
    assert len(shares) >= 3
    assert shares == sorted(shares, reverse=True)


@needs_browser
def test_the_pointer_finds_a_line_end(answered: Page) -> None:
    """It takes no room in a text, and has a probability as any token has."""
    answered.point(".token.line-end")
    answered.until("document.querySelector('#detail code')?.textContent.startsWith('\u21b5')")
    ends = answered.evaluate("document.querySelector('.token.line-end').textContent")
    assert set(ends) == {"\n"}


@needs_browser
def test_the_keyboard_reaches_every_token(answered: Page) -> None:
    answered.evaluate("document.querySelector('#generate').focus()")
    answered.press("Tab")
    focused = "document.activeElement.dataset.index"
    assert answered.evaluate(focused) == "0"
    first = answered.evaluate("document.querySelector('#detail').innerText")
    answered.press("ArrowRight")
    assert answered.evaluate(focused) == "1"
    assert answered.evaluate("document.querySelector('#detail').innerText") != first
    answered.press("End")
    assert answered.evaluate(focused) == "23"
    # One stop of the Tab key for all of them.
    assert answered.evaluate("document.querySelectorAll('.token[tabindex=\"0\"]').length") == 1


@needs_browser
def test_a_screen_reader_finds_names_for_everything(answered: Page) -> None:
    names = answered.names()
    for expected in (
        ("textbox", "Text"),
        ("spinbutton", "Temperature"),
        ("button", "Generate"),
        ("button", "Stop"),
        ("complementary", "Where this model comes from"),
    ):
        assert expected in names
    unnamed = {
        role for role, name in names if role in {"button", "textbox", "spinbutton"} and not name
    }
    assert unnamed == set()


@needs_browser
def test_the_page_asks_nobody_else_and_its_policy_holds(answered: Page, url: str) -> None:
    assert {re.sub(r"(?<=\d)/.*", "", request) for request in answered.requests} <= {url, "data:,"}
    answered.evaluate(
        "(() => { const s = document.createElement('script');"
        " s.textContent = 'window.owned = true'; document.body.append(s); })()"
    )
    assert answered.evaluate("window.owned === undefined")
    assert any("Content Security Policy" in problem for problem in answered.problems)
    assert all("Content Security Policy" in problem for problem in answered.problems)


@needs_browser
def test_what_the_model_writes_is_text(answered: Page) -> None:
    answered.evaluate("document.querySelector('#prompt').value = '<img src=x onerror=\"owned=1\">'")
    answered.evaluate("document.querySelector('#max_tokens').value = 1")
    answered.click("#generate")
    answered.until(GENERATED)
    assert answered.evaluate("document.querySelectorAll('#answer img').length") == 0
    assert answered.evaluate("document.querySelector('.given').textContent").startswith("<img")


@needs_browser
def test_a_refusal_is_shown(answered: Page) -> None:
    answered.evaluate("document.querySelector('#prompt').value = ''")
    answered.press("Enter", control=True)
    answered.until("!document.querySelector('#error').hidden")
    assert "the prompt is empty" in answered.evaluate("document.querySelector('#error').innerText")
    assert answered.evaluate("!document.querySelector('#generate').disabled")


@needs_browser
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_the_window_in_light_and_dark(answered: Page, width: int) -> None:
    for dark, colours in ((False, LIGHT), (True, DARK)):
        answered.show(width, 900, dark=dark)
        assert answered.evaluate("document.scrollingElement.scrollWidth") <= width
        over = "[...document.querySelectorAll('main *')].filter(each => { const box ="
        over += f" each.getBoundingClientRect(); return box.width > 1 && box.right > {width} + 0.5"
        over += "; }).map(each => each.outerHTML.slice(0, 80))"
        assert answered.evaluate(over) == []
        with Image.open(io.BytesIO(answered.picture())) as image:
            corner = image.convert("RGB").getpixel((1, 1))
        assert "#{:02x}{:02x}{:02x}".format(*corner) == colours["paper"]
