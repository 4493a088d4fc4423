"""What we take and what others get of us: the lock, its audit, a bill of materials, imports."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement

from tools.audit import Audit, audit, read_report
from tools.sbom import Pin, make_bom, read_lock, serialise

PROJECT = {"name": "grokdist", "version": "0.1.0", "license": "Apache-2.0"}


def test_the_bill_of_materials_is_the_lock(repository: Path) -> None:
    lock = (repository / "requirements.lock").read_text("utf-8")
    text = serialise(make_bom(PROJECT, list(read_lock(lock))))
    assert text == serialise(make_bom(PROJECT, list(read_lock(lock))))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document = json.loads(text)
    listed = {(each["name"], each["version"]): each for each in document["components"]}
    pins = re.findall(r"^([a-z0-9._-]+)==([^ ;]+)", lock, re.MULTILINE)
    assert set(listed) == set(pins)
    hashes = sum(len(each["hashes"]) for each in document["components"])
    assert hashes == lock.count("--hash=sha256:")
    assert {each["purl"] for each in document["components"]} >= {
        f"pkg:pypi/cryptography@{version}" for name, version in pins if name == "cryptography"
    }
    (root,) = (each for each in document["dependencies"] if each["ref"] == "grokdist")
    assert len(root["dependsOn"]) == len(document["components"])


def test_a_lock_that_is_not_pinned_is_refused() -> None:
    digest = "ab" * 32
    assert list(read_lock(f"# a\nx==1.0 ; os_name == 'nt' \\\n    --hash=sha256:{digest}\n")) == [
        Pin(name="x", version="1.0", marker="os_name == 'nt'", sha256=(digest,))
    ]
    for bad in ("x>=1.0 --hash=sha256:" + digest, "x==1.0", "-e .", "x==1.0 --hash=md5:00"):
        with pytest.raises(ValueError, match="no pin with hashes"):
            list(read_lock(bad + "\n"))


def test_the_lock_pins_what_the_project_asks_for(repository: Path) -> None:
    """Each dependency, and what it needs in turn, at a version that the project takes."""
    project = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))["project"]
    pins = list(read_lock((repository / "requirements.lock").read_text("utf-8")))
    asked = [Requirement(each) for each in project["dependencies"]]
    for each in asked:
        pinned = [pin.version for pin in pins if pin.name == each.name]
        assert pinned, each
        assert all(version in each.specifier for version in pinned), (each, pinned)
    assert len(pins) > len(asked)


_PIP_AUDIT = """#!{python}
import json, sys
service = sys.argv[sys.argv.index("--vulnerability-service") + 1]
report = {reports!r}[service]
if report is None:
    sys.exit("cannot be reached")
open(sys.argv[sys.argv.index("--output") + 1], "w").write(report)
"""
_SKIPPED = {"name": "b", "skip_reason": "Dependency not found"}
_SOUND = {"name": "a", "version": "1", "vulns": []}
_BAD = {"name": "c", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}


@pytest.mark.parametrize(
    ("pypi", "osv", "said", "code", "required"),
    [
        ([_SOUND], None, "1 packages of requirements.lock: no known vulnerability", 0, 0),
        (None, [_SOUND], "1 packages of requirements.lock: no known vulnerability", 0, 0),
        (None, None, "NOT AUDITED: no vulnerability service", 0, 1),
        # pip-audit itself calls this well.
        ([_SKIPPED], None, "NOT AUDITED", 0, 1),
        ([_SOUND, _SKIPPED], None, "1 were asked about", 0, 1),
        ([_SKIPPED], [_SOUND, _BAD], "c==2: CVE-1, mended in 3", 1, 1),
        ([_SOUND, _BAD, _SKIPPED], None, "1 known vulnerabilities", 1, 1),
    ],
)
def test_an_audit_never_passes_in_silence(
    pypi: object, osv: object, said: str, code: int, required: int, tmp_path: Path, repository: Path
) -> None:
    answers = {"pypi": pypi, "osv": osv}
    reports = {
        name: None if found is None else json.dumps({"dependencies": found})
        for name, found in answers.items()
    }
    program = tmp_path / "pip-audit"
    program.write_text(_PIP_AUDIT.format(python=sys.executable, reports=reports))
    program.chmod(0o755)
    argv = [sys.executable, "-S", "-m", "tools.audit", "--pip-audit", str(program)]
    for more, expected in (((), code), (("--required",), required)):
        ended = subprocess.run((*argv, *more), cwd=repository, capture_output=True, text=True)
        assert ended.returncode == expected, ended
        assert said in ended.stdout + ended.stderr


def test_a_report_that_is_none_is_refused(tmp_path: Path) -> None:
    for bad in ("", "[]", "{}", '{"dependencies": [{"name": "a"}]}', '{"dependencies": 1}'):
        with pytest.raises(ValueError, match=r"report|JSON|Expecting"):
            read_report(bad)
    assert audit("/bin/true", tmp_path) == Audit()


def test_an_import_touches_nothing(repository: Path) -> None:
    """No module reads a file of its own accord when imported, or writes, calls, starts anything."""
    watcher = repository / "tests/architecture/import_watcher.py"
    ended = subprocess.run(
        [sys.executable, "-B", str(watcher)],
        cwd=repository,
        env={"PYTHONPATH": f"{repository}:{repository / 'runtime'}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout.splitlines()[-1])
    assert len(report["imported"]) > 200
    assert report["failed"] == {}
    assert report["touched"] == []


def test_the_watcher_of_imports_sees(repository: Path, tmp_path: Path) -> None:
    package = tmp_path / "grokdist"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "reads.py").write_text("from pathlib import Path\nPath('/etc/hosts').read_bytes()\n")
    (package / "writes.py").write_text("open('left', 'w').close()\n")
    (package / "starts.py").write_text("import subprocess\nsubprocess.run(['true'])\n")
    (package / "calls.py").write_text("import socket\nsocket.socket().close()\n")
    (package / "sound.py").write_text("import json\n")
    ended = subprocess.run(
        [sys.executable, "-B", str(repository / "tests/architecture/import_watcher.py")],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    report = json.loads(ended.stdout.splitlines()[-1])
    assert {each.split(" ")[0] for each in report["touched"]} == {
        "grokdist.reads",
        "grokdist.writes",
        "grokdist.starts",
        "grokdist.calls",
    }
