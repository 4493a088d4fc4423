"""Completions, asked for by real shells."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from grokdist.cli.completion import model_names
from tests.cli.conftest import Cli
from tests.cli.terminal import Terminal


@pytest.fixture
def env(tmp_path: Path, repository: Path) -> dict[str, str]:
    """An environment in which ``grokdist`` is this checkout's."""
    command = tmp_path / "bin/grokdist"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m grokdist "$@"\n')
    command.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{repository}{os.pathsep}{repository / 'runtime'}",
        "TERM": "dumb",
        "HOME": str(tmp_path),
    }


def test_bash_completes_as_one_types(env: dict[str, str], repository: Path) -> None:
    """On a terminal: a command, a flag, a model, and a shell for ``--show-completion``."""
    bash = ["bash", "--norc", "--noprofile", "-i"]
    with Terminal(bash, cwd=repository, env={**env, "PS1": "ready$ "}) as terminal:
        terminal.expect(r"ready\$ ")
        terminal.type('eval "$(grokdist --show-completion bash)"; echo sour"ced"\n')
        terminal.expect("sourced\r\n")
        terminal.type("grokdist show grok-mi\t")
        terminal.expect(r"show grok-mini ")
        terminal.type("\x15grokdist doct\t")
        terminal.expect(r"grokdist doctor ")
        terminal.type("\x15grokdist run --max-t\t")
        terminal.expect(r"run --max-tokens ")


BASH = """
eval "$(grokdist --show-completion bash)"
COMP_WORDS=(grokdist rm ""); COMP_CWORD=2
_grokdist_completion grokdist
printf '%s\\n' "${COMPREPLY[@]}"
"""


def test_what_is_removed_is_what_is_here(env: dict[str, str], repository: Path) -> None:
    (Path(env["GROKDIST_HOME"]) / "models/mine").mkdir(parents=True)
    ended = subprocess.run(
        ["bash", "-c", BASH], cwd=repository, env=env, capture_output=True, text=True, check=True
    )
    assert (ended.stdout, ended.stderr) == ("mine\n", "")


ZSH = """
autoload -Uz compinit; compinit -u -d "$HOME/.zcompdump"
eval "$(grokdist --show-completion zsh)"
_arguments() { print -r -- "$@" }
words=(grokdist show grok-mi); CURRENT=3
_grokdist_completion
"""
FISH = """
grokdist --show-completion fish | source
complete --do-complete "grokdist show grok-mi"
"""


@pytest.mark.parametrize(("shell", "script"), [("zsh", ZSH), ("fish", FISH)])
def test_other_shells(env: dict[str, str], repository: Path, shell: str, script: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    options = ["-f"] if shell == "zsh" else ["--no-config"]
    ended = subprocess.run(
        [shell, *options, "-c", script], cwd=repository, env=env, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert "grok-mini" in ended.stdout
    assert "grok-1" not in ended.stdout


def test_names_need_no_verification(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {"grok-1", "grok-mini"} <= set(model_names("grok"))
    assert model_names("no such") == []
    # A configuration that is broken must not show up between what one types.
    (tmp_path / "broken.toml").write_text("[run")
    monkeypatch.setenv("GROKDIST_CONFIG", str(tmp_path / "broken.toml"))
    monkeypatch.setenv("_GROKDIST_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "grokdist verif")
    monkeypatch.setenv("COMP_CWORD", "1")
    ended = cli()
    assert (ended.code, ended.out, ended.err) == (0, "verify\n", "")


def test_a_shell_that_is_unknown_is_a_usage_error(cli: Cli) -> None:
    ended = cli("--show-completion", "tcsh")
    assert ended.code == 2
    assert "bash" in ended.err
