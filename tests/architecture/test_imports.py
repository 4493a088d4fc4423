"""Imports point one way, and commands import no more than they need."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Lower layers import no higher ones: cli -> api -> transfer, policy -> catalog -> trust -> errors.
LAYERS = {"cli": 5, "api": 4, "transfer": 3, "policy": 3, "catalog": 2, "trust": 1}
JAX_FILES = {
    "api/opening.py",
    "cli/answer.py",
    "cli/doctor.py",
    "cli/generation_settings.py",
    "cli/prompt_batch.py",
    "cli/prompt_loop.py",
    "cli/run.py",
    "cli/score.py",
    "cli/serve.py",
    "cli/speed.py",
    "cli/token_table.py",
}
# The front door names what lies behind it, and imports it when it is asked for.
DOORS = {"__main__.py", "__init__.py"}


def _imports(path: Path) -> set[str]:
    """Dotted names that a file imports, at module level or inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def test_layers_import_downwards_only(repository: Path) -> None:
    package = repository / "grokdist"
    wrong = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).parts
        own = LAYERS.get(parts[0], 0) if len(parts) > 1 else 0
        if len(parts) == 1 and path.name in DOORS:
            continue
        for name in _imports(path):
            if not name.startswith("grokdist."):
                continue
            target = name.split(".")[1]
            level = LAYERS.get(target, 0)
            sideways = level == own and target != parts[0] and level > 0
            if level > own or sideways:
                wrong.append(f"{path.relative_to(repository)} imports {name}")
    assert wrong == []


def test_runtime_imports_nothing_from_grokdist(repository: Path) -> None:
    wrong = [
        f"{path.relative_to(repository)} imports {name}"
        for path in (repository / "runtime").rglob("*.py")
        for name in _imports(path)
        if name == "grokdist" or name.startswith("grokdist.")
    ]
    assert wrong == []


def test_only_named_commands_reach_jax(repository: Path) -> None:
    free_of_jax = {
        "grokdist_runtime.checkpoint",
        "grokdist_runtime.cluster",
        "grokdist_runtime.device_table",
        "grokdist_runtime.errors",
        "grokdist_runtime.host_files",
        "grokdist_runtime.mesh_shape",
        "grokdist_runtime.native.compiler",
        "grokdist_runtime.plan",
        "grokdist_runtime.rendezvous",
        "grokdist_runtime.supervision",
    }
    wrong = []
    for path in (repository / "grokdist").rglob("*.py"):
        if path.relative_to(repository / "grokdist").as_posix() in JAX_FILES:
            continue
        for name in _imports(path):
            heavy = name.split(".")[0] == "jax" or (
                name.startswith("grokdist_runtime")
                and not any(name.startswith(light) for light in free_of_jax)
                and name != "grokdist_runtime.config.ModelConfig"
            )
            if heavy:
                wrong.append(f"{path.relative_to(repository)} imports {name}")
    runtime = repository / "runtime/grokdist_runtime"
    names = (
        "cluster",
        "config",
        "device_table",
        "errors",
        "host_files",
        "mesh_shape",
        "native/compiler",
        "plan",
        "rendezvous",
        "supervision",
    )
    alone = [runtime / f"{name}.py" for name in names]
    for path in [*(runtime / "checkpoint").rglob("*.py"), *alone]:
        wrong += [f"{path} imports {name}" for name in _imports(path) if name.startswith("jax")]
    assert wrong == []


def _modules_after(code: str, repository: Path) -> set[str]:
    """Names of the modules loaded by a child that runs ``code``."""
    child = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint('\\n'.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
        cwd=repository,
        env={
            "PYTHONPATH": f"{repository}:{repository / 'runtime'}",
            "PATH": "/usr/bin:/bin",
            "GROKDIST_RUN_KERNELS": "plain",
            # How well it is compiled says nothing of what is imported.
            **{
                name: value for name, value in os.environ.items() if name.startswith(("JAX", "XLA"))
            },
        },
    )
    return {line.split(".")[0] for line in child.stdout.splitlines()}


@pytest.mark.parametrize("command", ["--help", "fetch", "verify", "run", "plan", "show"])
def test_help_imports_neither_jax_nor_libtorrent(command: str, repository: Path) -> None:
    argv = ["grokdist", command] if command == "--help" else ["grokdist", command, "--help"]
    code = (
        f"import sys\nsys.argv = {argv!r}\nfrom grokdist.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
    )
    loaded = _modules_after(code, repository)
    assert not loaded & {"jax", "jaxlib", "libtorrent", "numpy", "huggingface_hub", "tuf"}


def test_the_packages_alone_import_next_to_nothing(repository: Path) -> None:
    code = "import grokdist, grokdist_runtime, grokdist.errors\nassert 'fetch' in dir(grokdist)"
    loaded = _modules_after(code, repository)
    heavy = {"jax", "numpy", "libtorrent", "huggingface_hub", "tuf", "typer", "rich", "urllib3"}
    assert not loaded & heavy


def test_to_fetch_and_verify_from_python_needs_no_jax(repository: Path, tmp_path: Path) -> None:
    code = (
        "import os\n"
        f"os.environ['GROKDIST_HOME'] = {str(tmp_path)!r}\n"
        "import grokdist\n"
        "fetched = grokdist.fetch('grok-mini', sources=['local'])\n"
        "assert grokdist.verify(fetched.directory).ok\n"
    )
    assert not _modules_after(code, repository) & {"jax", "libtorrent", "huggingface_hub", "typer"}


def test_a_plan_never_imports_jax(repository: Path, tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        f"os.environ['GROKDIST_HOME'] = {str(tmp_path)!r}\n"
        "sys.argv = ['grokdist', 'plan', 'grok-1', '--devices', '4xH100', '--json']\n"
        "from grokdist.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
    )
    loaded = _modules_after(code, repository)
    assert "grokdist_runtime" in loaded
    assert not loaded & {"jax", "jaxlib", "numpy", "libtorrent", "huggingface_hub"}


def test_run_of_the_bundled_model_never_imports_libtorrent(
    repository: Path, tmp_path: Path
) -> None:
    code = (
        "import os, sys\n"
        f"os.environ['GROKDIST_HOME'] = {str(tmp_path)!r}\n"
        "sys.argv = ['grokdist', 'run', '--max-tokens', '1', '-q', '--json', 'Once']\n"
        "from grokdist.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
    )
    loaded = _modules_after(code, repository)
    assert "jax" in loaded
    assert "libtorrent" not in loaded
    assert "huggingface_hub" not in loaded
