"""Grok-1's real file list, against a server that holds zeros of the true sizes.

770 checkpoint files, 318 GB of address space, a few megabytes of memory. The zeros have not the
digests that the manifest names, and that must be said for every file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from grokdist.catalog.manifest import FileEntry, TrustedManifest
from grokdist.catalog.registry import Registry
from grokdist.errors import DigestMismatchError, ResourceError
from grokdist.transfer.engine import fetch
from grokdist.transfer.part_files import write_part
from grokdist.transfer.plan import FetchRequest, FileState, make_plan
from grokdist.transfer.ranges import RangeMap
from grokdist.transfer.sources.http_transport import HttpTransport
from grokdist.transfer.sources.resolve import build_sources
from grokdist.transfer.stop import Stop
from grokdist.transfer.tree import ModelTree
from grokdist.transfer.verify import verify
from tests.servers.hub_server import HubServer, ServedFile
from tests.transfer.http.bodies import read_all
from tests.transfer.models import HASTY, QUICK_HTTP, hub

CHECKPOINT = 318_239_886_140
WHOLE = CHECKPOINT + 2_229_219 + 11_358
NORM = "ckpt-0/tensor00001_000"
EMBED = "ckpt-0/tensor00000_000"
EXPERTS = "ckpt-0/tensor00002_000"


@pytest.fixture(scope="module")
def grok() -> TrustedManifest:
    return Registry.embedded().load("grok-1")


def _stand_ins(trusted: TrustedManifest) -> dict[str, ServedFile]:
    """Zeros of the true sizes, announced under the manifest's digests."""
    return {
        entry.path: ServedFile(size=entry.size, sha256=entry.sha256 or "", lfs=entry.lfs)
        for entry in trusted.manifest.files
        if entry.path.startswith("ckpt-0/")
    }


def test_the_plan_is_the_true_one(grok: TrustedManifest, tmp_path: Path) -> None:
    request = FetchRequest(trusted=grok, directory=tmp_path / "m")
    plan = make_plan(request, build_sources(request))
    plan.close()
    assert (len(plan.files), plan.size) == (772, WHOLE)
    assert plan.fetch_bytes == plan.disk_needed == WHOLE
    assert plan.sourceless == ()
    told = {source.name: (source.files, source.size) for source in plan.sources}
    assert told["hub:xai-org/grok-1"] == (770, CHECKPOINT)
    assert told["torrent:5f96d43576e3"] == (770, CHECKPOINT)
    (https,) = (each for name, each in told.items() if name.startswith("https:"))
    assert https == (2, 2_229_219 + 11_358)


def test_a_disk_too_small_ends_before_the_first_byte(
    grok: TrustedManifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=300 * 10**9))
    with HubServer(_stand_ins(grok)) as server:
        request = FetchRequest(trusted=grok, directory=tmp_path / "m")
        plan = make_plan(request, [hub(server.endpoint)])
        with pytest.raises(ResourceError, match=r"expected 318,242,126,717 bytes free"):
            fetch(plan, patience=HASTY)
        assert server.log == []
    assert not (tmp_path / "m").exists()


def test_bytes_that_are_not_the_models_are_refused_by_name(
    grok: TrustedManifest, tmp_path: Path
) -> None:
    stand_ins = _stand_ins(grok)
    with HubServer(stand_ins) as server:
        request = FetchRequest(
            trusted=grok,
            directory=tmp_path,
            include=("ckpt-0/tensor0000[1-9]_000", "ckpt-0/tensor007[5-6]?_000"),
        )
        small = [
            file.entry
            for file in make_plan(request, [hub(server.endpoint)]).files
            if file.entry.size < 10_000_000
        ]
        assert {entry.size for entry in small} == {24_727, 196_770, 6_293_814}
        request = FetchRequest(
            trusted=grok, directory=tmp_path, include=tuple(entry.path for entry in small)
        )
        with pytest.raises(DigestMismatchError) as caught:
            fetch(make_plan(request, [hub(server.endpoint)]), patience=HASTY)
        # Each was fetched once, found wrong, and thrown away.
        assert sorted(each.file or "" for each in server.log) == sorted(e.path for e in small)
    assert caught.value.path == NORM
    entry = next(each for each in small if each.path == NORM)
    assert caught.value.expected == f"sha256:{entry.sha256}"
    assert caught.value.got == f"sha256:{hashlib.sha256(bytes(24_727)).hexdigest()}"
    assert f"{len(small) - 1} more files likewise" in str(caught.value)
    assert not (tmp_path / "ckpt-0").exists()


def test_sparse_files_of_all_sizes_are_told_from_the_real_ones(
    grok: TrustedManifest, tmp_path: Path
) -> None:
    (tmp_path / "ckpt-0").mkdir()
    for entry in grok.manifest.files:
        (tmp_path / entry.path).touch()
        os.truncate(tmp_path / entry.path, entry.size)
    request = FetchRequest(trusted=grok, directory=tmp_path)
    plan = make_plan(request, [])
    assert {file.state for file in plan.files} == {FileState.PRESENT}
    assert (plan.check_bytes, plan.fetch_bytes, plan.disk_needed) == (WHOLE, 0, 0)
    report = verify(tmp_path, grok.manifest, include=("ckpt-0/tensor0000[157]_000",), jobs=2)
    assert (report.files, report.missing) == (0, ())
    assert [each.path[-9:-4] for each in report.mismatched] == ["00001", "00005", "00007"]


@pytest.mark.parametrize(("path", "offset"), [(EXPERTS, 1_611_000_000), (EMBED, 3_221_225_000)])
def test_ranges_reach_into_the_largest_files(grok: TrustedManifest, path: str, offset: int) -> None:
    size = next(entry.size for entry in grok.manifest.files if entry.path == path)
    with (
        HubServer(_stand_ins(grok)) as server,
        contextlib.closing(HttpTransport("https:x", 1, QUICK_HTTP)) as transport,
    ):
        answer = transport.get(f"{server.mirror}{path}", {"Range": f"bytes={offset}-"}, Stop())
        assert answer.response.status == 206
        assert answer.response.headers["Content-Range"] == f"bytes {offset}-{size - 1}/{size}"
        assert len(read_all(answer.response)) == size - offset
        answer.response.finish()
        answer.let_go()


def test_memory_does_not_grow_with_the_bytes(tmp_path: Path, repository: Path) -> None:
    """A process of its own goes on in a sparse part and fetches three more files."""
    size = 16_000_000
    zeros = hashlib.sha256(bytes(size)).hexdigest()
    entry = FileEntry(path="f0", size=size, sha256=zeros)
    (tmp_path / "f0").touch()
    os.truncate(tmp_path / "f0", size)
    with ModelTree(tmp_path) as tree:
        # Without a hash state: all of it is read.
        write_part(tree, entry, RangeMap([(0, size - 300_000, "earlier")]))
    code = f"""
        import resource, sys
        from pathlib import Path
        from grokdist.catalog.manifest import FileEntry
        from grokdist.transfer.engine import fetch
        from grokdist.transfer.plan import FetchRequest, make_plan
        from tests.transfer.models import hub, manifest_of, trusted
        entries = [FileEntry(path=f"f{{n}}", size={size}, sha256="{zeros}") for n in range(4)]
        request = FetchRequest(trusted=trusted(manifest_of(entries)), directory=Path(sys.argv[1]))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        result = fetch(make_plan(request, [hub(sys.argv[2])]))
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(result.fetched_bytes, after - before)
    """
    served = ServedFile(size=size, sha256=zeros)
    with HubServer({f"f{place}": served for place in range(4)}) as server:
        told = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), str(tmp_path), server.endpoint],
            env=os.environ | {"PYTHONPATH": f"{repository}:{repository}/runtime"},
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert [each.offset for each in server.gets("f0")] == [size - 300_000]
    fetched, grown_kib = map(int, told.stdout.split())
    assert fetched == 300_000 + 3 * size
    # Four connections with a block each, the Hub's client, no file.
    assert grown_kib < 30_000
    assert (tmp_path / "f0").stat().st_blocks * 512 < 1_000_000


def test_the_stand_ins_announce_what_the_manifest_lists(grok: TrustedManifest) -> None:
    entries = [entry for entry in grok.manifest.files if entry.lfs]
    served = _stand_ins(grok)
    assert [served[entry.path].git_blob for entry in entries] == [
        entry.git_blob for entry in entries
    ]
