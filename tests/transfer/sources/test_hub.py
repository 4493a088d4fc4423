"""What only the Hub does: revisions, gates, missing repositories, the offline switch."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from huggingface_hub import constants

from grokdist.errors import NoSourceError, UsageError
from grokdist.transfer.engine import fetch
from grokdist.transfer.sources.hub import HubSource
from tests.servers.hub_server import COMMIT, Faults, HubServer
from tests.transfer.models import HASTY, assert_complete, content, hub, plan_for

FILES = {"a": content("a", 1000), "folder/b": content("b", 2000)}


def test_the_pinned_commit_is_asked_for(tmp_path: Path) -> None:
    with HubServer(FILES) as server:
        fetch(plan_for(FILES, tmp_path, hub(server.endpoint, revision=COMMIT)), patience=HASTY)
        assert {each.path for each in server.log} == {
            f"/xai-org/grok-1/resolve/{COMMIT}/a",
            f"/xai-org/grok-1/resolve/{COMMIT}/folder/b",
        }


def test_a_mirror_with_other_commits_serves_its_main_branch(tmp_path: Path) -> None:
    with HubServer(FILES) as server:
        plan = plan_for(FILES, tmp_path, hub(server.endpoint, revision="00" * 20))
        fetch(plan, patience=HASTY)
    assert_complete(tmp_path, FILES)


@pytest.mark.parametrize(
    ("refuse", "reason"),
    [
        ((403, "GatedRepo"), "gated"),
        ((401, "RepoNotFound"), "private"),
        ((404, "RepoNotFound"), "private"),
        ((404, "RevisionNotFound"), "has no branch main"),
        ((418, ""), "HTTP 418"),
    ],
)
def test_refusals_are_told_apart_and_not_repeated(
    tmp_path: Path, refuse: tuple[int, str], reason: str
) -> None:
    with HubServer(FILES, faults=Faults(refuse=refuse)) as server:
        with pytest.raises(NoSourceError, match=reason):
            fetch(plan_for(FILES, tmp_path, hub(server.endpoint)), patience=HASTY)
        assert len(server.log) <= 2


@pytest.mark.parametrize(
    ("token", "advice"), [("", "set HF_TOKEN"), ("hf_other", "use a token that may read it")]
)
def test_a_gate_is_explained(tmp_path: Path, token: str, advice: str) -> None:
    with HubServer(FILES, faults=Faults(refuse=(403, "GatedRepo"))) as server:
        where = f"{server.endpoint}/xai-org/grok-1"
        with pytest.raises(NoSourceError, match=f"accept its terms at {where}, then .*{advice}"):
            fetch(plan_for(FILES, tmp_path, hub(server.endpoint, token=token)), patience=HASTY)


def test_an_expired_download_address_is_asked_for_anew(tmp_path: Path) -> None:
    with HubServer(FILES, faults=Faults(refuse=(403, ""))) as cdn, HubServer(FILES) as server:
        server.faults.redirect_to = cdn.mirror
        with pytest.raises(NoSourceError, match="download address has expired"):
            fetch(plan_for(FILES, tmp_path, hub(server.endpoint)), patience=HASTY)
        assert len(cdn.log) >= 4


def test_offline_means_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with HubServer(FILES) as server:
        with pytest.raises(NoSourceError, match="HF_HUB_OFFLINE is set"):
            fetch(plan_for(FILES, tmp_path, hub(server.endpoint)), patience=HASTY)
        assert server.log == []


@pytest.mark.parametrize("name", ["", "a/b/c", "../x", "a b", "/x", "a//b"])
def test_only_repositories_are_repositories(name: str) -> None:
    with pytest.raises(UsageError):
        HubSource(name)


def test_the_environment_names_endpoint_and_token(tmp_path: Path, repository: Path) -> None:
    """In a process of its own: the Hub's client reads the environment when it is imported."""
    code = """
        import sys
        from pathlib import Path
        from grokdist.transfer.engine import fetch
        from grokdist.transfer.sources.hub import HubSource
        from tests.transfer.models import content, plan_for
        files = {"a": content("a", 1000), "folder/b": content("b", 2000)}
        fetch(plan_for(files, Path(sys.argv[1]), HubSource("xai-org/grok-1")))
    """
    with HubServer(FILES) as server:
        environment = os.environ | {
            "PYTHONPATH": f"{repository}:{repository}/runtime",
            "HF_ENDPOINT": server.endpoint,
            "HF_TOKEN": "hf_from_environment",
        }
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "m")],
            env=environment,
            check=True,
            timeout=120,
        )
        assert {each.authorization for each in server.log} == {"Bearer hf_from_environment"}
    assert_complete(tmp_path / "m", FILES)


def test_the_real_client_accepts_the_test_server(tmp_path: Path) -> None:
    """So that what these tests show of the server holds for the Hub's own client too."""
    from huggingface_hub import HfApi, hf_hub_download

    with HubServer(FILES) as server:
        api = HfApi(endpoint=server.endpoint, token=False)
        rows = {each.path: each for each in api.list_repo_tree("xai-org/grok-1", recursive=True)}
        assert set(rows) == set(FILES)
        path = hf_hub_download(
            "xai-org/grok-1",
            "folder/b",
            revision=COMMIT,
            endpoint=server.endpoint,
            local_dir=tmp_path,
            token=False,
        )
        assert Path(path).read_bytes() == FILES["folder/b"]
