"""Settings that must be made before JAX starts: each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from jax._src.compilation_cache import compress_executable

from grokdist_runtime import devices
from grokdist_runtime.devices import use_compilation_cache
from grokdist_runtime.errors import DeviceError


def python(code: str, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    root = Path(__file__).parents[2]
    clean["PYTHONPATH"] = f"{root}{os.pathsep}{root / 'runtime'}"
    clean["JAX_PLATFORMS"] = "cpu"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_mesh_gets_the_devices_it_needs() -> None:
    code = """
from grokdist_runtime.devices import simulate, simulate_for_mesh
from grokdist_runtime.errors import DeviceError
import jax
simulate_for_mesh(None)
simulate_for_mesh("auto")
simulate_for_mesh("1x1")
simulate_for_mesh("2x2x2")
print(jax.device_count())
simulate(8)
try:
    simulate(16)
except DeviceError as error:
    print(error)
"""
    assert python(code).splitlines() == ["8", "JAX already runs with 8 devices; expected 16"]


def test_a_forced_count_is_left_alone() -> None:
    code = "from grokdist_runtime.devices import simulate; simulate(4)\n"
    code += "import jax; print(jax.device_count())"
    assert python(code, XLA_FLAGS="--xla_force_host_platform_device_count=2") == "2"


def test_compiled_programs_are_kept_in_a_private_directory(tmp_path: Path) -> None:
    cache = tmp_path / "state" / "compiled"
    code = f"""
from pathlib import Path
from grokdist_runtime.devices import use_compilation_cache
use_compilation_cache(Path({str(cache)!r}))
import jax
jax.jit(lambda x: x + 1)(1)
"""
    python(code)
    assert cache.stat().st_mode & 0o777 == 0o700
    assert any(cache.iterdir())


def test_a_program_that_was_cut_is_compiled_again(tmp_path: Path) -> None:
    cache = tmp_path / "compiled"
    code = f"""
from pathlib import Path
from grokdist_runtime.devices import use_compilation_cache
use_compilation_cache(Path({str(cache)!r}))
import jax
jax.jit(lambda x: x + 1)(1)
jax.jit(lambda x: x * 3 + 1)(1)
"""
    python(code)
    whole = {program: program.read_bytes() for program in cache.glob("*-cache")}
    assert len(whole) == 2
    for cut in (0, 1, 100, -1):
        for program, data in whole.items():
            program.write_bytes(data[:cut])
        python(code)  # in which a warning is an error
        assert set(cache.glob("*-cache")) == whole.keys()
        assert not any(devices._is_cut(program) for program in whole)


def test_a_whole_program_is_kept_and_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "jit_f-0-cache"
    tmp_path.chmod(0o700)
    program.write_bytes(compress_executable(b"program"))
    monkeypatch.setattr(jax.config, "update", lambda name, value: None)
    looked: list[Path] = []
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: looked.append(path) or read(path))
    use_compilation_cache(tmp_path)
    assert (looked, program.exists()) == ([program], True)
    os.utime(program, ns=(0, 0))
    use_compilation_cache(tmp_path)
    assert looked == [program]


def test_a_directory_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    with pytest.raises(DeviceError, match="drwxr-xr-x"):
        use_compilation_cache(shared)
    link = tmp_path / "link"
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    link.symlink_to(private)
    with pytest.raises(DeviceError, match="expected a directory"):
        use_compilation_cache(link)
    (tmp_path / "file").touch()
    with pytest.raises(DeviceError, match="cannot use"):
        use_compilation_cache(tmp_path / "file")
