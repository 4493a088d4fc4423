"""The native kernel against plain arithmetic, and what happens where it cannot be built."""

from __future__ import annotations

import os
import platform
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grokdist_runtime.errors import DeviceError
from grokdist_runtime.kernels import choose
from grokdist_runtime.native import build as building
from grokdist_runtime.native.grouped_matmul import grouped_matmul
from grokdist_runtime.native.library import register
from grokdist_runtime.native.row_products import row_products
from grokdist_runtime.quantised import Quantised, matmul
from grokdist_runtime.sharding import make_mesh
from grokdist_runtime.spec import ModelSpec
from tests.runtime.conftest import Model, load_runner, native_library
from tests.runtime.random_checkpoint import small_config
from tests.runtime.test_moe import dense, run_experts


@pytest.fixture
def native() -> None:
    register(native_library())


def stack(rng: np.random.Generator, depth: int, columns: int, groups: int) -> list[np.ndarray]:
    values = rng.integers(-128, 128, (2, 3, depth, columns)).astype(np.int8)
    return [values, rng.uniform(0.5, 2, (2, 3, groups, columns)).astype(np.float32)]


def check(found: object, x: np.ndarray, matrix: np.ndarray, stack: list[np.ndarray]) -> None:
    """Each element within float32's rounding, and what rounding a row to 24 bits can do at most."""
    values, scales = stack
    depth, columns = values.shape[-2:]
    widened = values.reshape(-1, depth, columns).astype(np.float64)
    widened *= np.repeat(
        scales.reshape(-1, scales.shape[-2], columns), depth // scales.shape[-2], 1
    )
    rows = x[np.arange(len(matrix)) // (len(matrix) // len(x))].astype(np.float64)
    chosen = widened[np.maximum(matrix, 0)]  # [P, K, N]
    wanted = np.einsum("pk,pkn->pn", rows, chosen) * (matrix >= 0)[:, None]
    half_step = np.abs(rows).max(1, keepdims=True) / (127 * 65536) / 2
    allowed = half_step * np.abs(chosen).sum(1) + 1e-5 * np.abs(wanted).max()
    assert (np.abs(found - wanted) <= allowed).all()


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7, 23, 24, 61])
@pytest.mark.parametrize(
    ("depth", "columns", "groups"), [(96, 16, 1), (344, 43, 8), (40, 700, 2), (608, 130, 8)]
)
def test_each_row_is_multiplied_with_the_matrix_it_names(
    rows: int, depth: int, columns: int, groups: int, rng: np.random.Generator
) -> None:
    """Alone, few and many to a matrix; columns that fill no vector; groups that fill no block.

    344 / 8 = 43 rows do not divide by four, which leaves them to float32 on every processor.
    """
    x = rng.normal(size=(rows, depth)).astype(np.float32)
    first, second = stack(rng, depth, columns, groups), stack(rng, depth, 64, 1)
    for matrix in (np.full(rows, 4), rng.integers(-1, 6, rows), rng.integers(-1, 6, 2 * rows)):
        named = matrix.astype(np.int32)
        call = jax.jit(lambda x, m, a, b: grouped_matmul(x, m, [tuple(a), tuple(b)]))
        found = call(x, named, first, second)
        for out, weights in zip(found, (first, second), strict=True):
            check(out, x, named, weights)


@pytest.mark.usefixtures("native")
def test_a_row_with_no_number_in_it_spoils_no_other(rng: np.random.Generator) -> None:
    weights = stack(rng, 64, 32, 2)
    x = rng.normal(size=(4, 64)).astype(np.float32)
    x[1, 3], x[2, 40] = np.nan, -np.inf
    x[3] = 0
    (found,) = grouped_matmul(x, np.full(4, 1, np.int32), [tuple(weights)])
    assert not np.isfinite(np.asarray(found)[1:3]).any()
    assert not np.asarray(found)[3].any()
    check(np.asarray(found)[:1], x[:1], np.full(1, 1), weights)


@pytest.mark.usefixtures("native")
def test_shapes_are_checked_when_a_program_is_traced(rng: np.random.Generator) -> None:
    values, scales = stack(rng, 8, 16, 1)
    x, matrix = jnp.zeros((2, 8)), jnp.zeros(2, jnp.int32)
    grouped_matmul(x, matrix, [(values, scales)])
    with pytest.raises(ValueError, match="multiple of 2 rows"):
        grouped_matmul(x, matrix[:1], [(values, scales)])
    with pytest.raises(ValueError, match=r"expected \[\.\.\., 8, N\] int8"):
        grouped_matmul(x, matrix, [(values[:, :, :7], scales)])
    with pytest.raises(ValueError, match="float32"):
        grouped_matmul(x, matrix, [(values, scales.astype(np.float16))])
    with pytest.raises(TypeError, match="expected float32 and int32"):
        grouped_matmul(x, matrix.astype(jnp.uint32), [(values, scales)])


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("tokens", [1, 5, 40])
@pytest.mark.parametrize("mesh", ["1x1", "1x2"])
def test_experts_equal_the_dense_ones(
    make_model: Callable[..., Model], tokens: int, mesh: str
) -> None:
    model = make_model(ffn_size=64, quantised_for_model_shards=2)
    runner = load_runner(model.directory, mesh, "float32", kernels="native")
    rng = np.random.default_rng(tokens)
    x = rng.normal(size=(tokens, 32)).astype(np.float32)
    in_use = np.arange(tokens) % 5 != 3
    found = run_experts(runner, x, in_use)
    wanted = dense(model.oracle, x)
    assert np.abs(found - wanted)[in_use].max() < 1e-5 * wanted.std()
    assert not found[~in_use].any()


@pytest.mark.usefixtures("native")
def test_a_build_is_kept_and_found_again(tmp_path: Path) -> None:
    first = building.build(tmp_path / "kernels")
    assert first.path is not None
    assert stat.S_IMODE((tmp_path / "kernels").stat().st_mode) == 0o700
    made = first.path.stat()
    assert building.build(tmp_path / "kernels") == first
    assert first.path.stat().st_mtime_ns == made.st_mtime_ns
    assert [path.name for path in (tmp_path / "kernels").iterdir()] == [first.path.name]


@pytest.mark.usefixtures("native")
def test_a_directory_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(DeviceError, match="only you can enter"):
        building.build(tmp_path / "open")


def test_without_a_compiler_the_plain_path_is_taken_and_the_reason_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    chosen = choose("cpu", None, tmp_path / "kernels")
    assert chosen.name == "plain"
    assert "no C++ compiler" in chosen.reason
    with pytest.raises(DeviceError, match="no C\\+\\+ compiler"):
        choose("cpu", "native", tmp_path / "kernels")


@pytest.mark.parametrize("exit_status", [0, 1])
def test_a_compiler_that_fails_or_makes_nonsense_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exit_status: int
) -> None:
    fake = tmp_path / "c++"
    fake.write_text(
        "#!/bin/sh\necho 'x.cc:1: error: no such thing' >&2\n"
        f'for last; do :; done; echo nonsense > "$last"; exit {exit_status}\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("CXX", str(fake))
    built = building.build(tmp_path / "kernels")
    if exit_status:
        assert built.path is None
        assert "no such thing" in built.reason
        assert not list((tmp_path / "kernels").iterdir()), "nothing half-made is left"
        return
    # A library that cannot be loaded: in a process that has none yet.
    code = (
        "from pathlib import Path; from grokdist_runtime.kernels import choose;"
        f"print(choose('cpu', None, Path({str(tmp_path / 'kernels')!r})))"
    )
    said = child([sys.executable, "-c", code])
    assert "name='plain'" in said
    assert "cannot be used" in said


@pytest.mark.usefixtures("native")
def test_matmul_is_dispatched(rng: np.random.Generator) -> None:
    values, scales = stack(rng, 64, 32, 2)
    spec = ModelSpec.create(small_config(), make_mesh("1x1"), kernels="native")
    w = Quantised(values=jnp.asarray(values), scales=jnp.asarray(scales))
    call = jax.jit(lambda x, e: matmul(x, w, (1, e), spec))
    x = rng.normal(size=(3, 64)).astype(np.float32)
    assert "grokdist_grouped_matmul" in call.lower(x, 2).as_text()
    check(call(x, 2), x, np.full(3, 5), [values, scales])


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("rows", [1, 3, 9])
@pytest.mark.parametrize(("depth", "table_rows"), [(64, 128), (103, 150)])
def test_rows_are_multiplied_with_those_of_a_table(
    rows: int, depth: int, table_rows: int, dtype: Any, rng: np.random.Generator
) -> None:
    x = rng.normal(size=(rows, depth)).astype(np.float32)
    table = jnp.asarray(rng.normal(size=(table_rows, depth)), dtype)
    expected = x.astype(np.float64) @ np.asarray(table, np.float64).T
    np.testing.assert_allclose(row_products(x, table), expected, rtol=1e-5, atol=1e-5)


def test_shapes_of_a_table_are_checked() -> None:
    x = jnp.zeros((2, 8))
    with pytest.raises(ValueError, match=r"expected \[R, K\] and \[V, K\]"):
        row_products(x, jnp.zeros((4, 9)))
    with pytest.raises(TypeError, match="float16"):
        row_products(x, jnp.zeros((4, 8), jnp.float16))


def test_unknown_and_unfit_kernels_are_refused() -> None:
    with pytest.raises(DeviceError, match="expected one of plain, native, pallas"):
        choose("cpu", "fast", None)
    with pytest.raises(DeviceError, match="do not run on a cpu"):
        choose("cpu", "pallas", None)
    assert choose("tpu", None, None).name == "plain"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="these are switches of x86 compilers")
@pytest.mark.parametrize("without", ["-mno-avx512f", "-mno-avx"])
def test_processors_with_shorter_vectors_compute_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator, without: str
) -> None:
    """Eight and four lanes, in a process of their own: each process loads one kernel."""
    native_library()  # skips where there is no compiler
    monkeypatch.setenv("CXX", f"{os.environ.get('CXX', 'c++')} {without}")
    values, scales = stack(rng, 344, 43, 8)
    cases = {"values": values, "scales": scales}
    for rows in (1, 3, 61):
        cases[f"x{rows}"] = rng.normal(size=(rows, 344)).astype(np.float32)
        cases[f"m{rows}"] = rng.integers(-1, 6, rows).astype(np.int32)
    cases["m61"][:40] = 2  # many to one matrix
    table = jnp.asarray(rng.normal(size=(70, 344)), jnp.bfloat16)
    cases["table"] = np.asarray(table).view(np.uint16)
    np.savez(tmp_path / "cases.npz", **cases)
    code = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from grokdist_runtime.kernels import choose\n"
        "from grokdist_runtime.native.grouped_matmul import grouped_matmul\n"
        "from grokdist_runtime.native.row_products import row_products\n"
        "import jax.numpy as jnp\n"
        "work = Path(sys.argv[1]); c = np.load(work / 'cases.npz')\n"
        "assert choose('cpu', 'native', work / 'kernels').name == 'native'\n"
        "s = [(c['values'], c['scales'])]\n"
        "np.savez(work / 'found.npz', *(grouped_matmul(c[f'x{n}'], c[f'm{n}'], s)[0]"
        " for n in (1, 3, 61)), row_products(c['x61'], c['table'].view(jnp.bfloat16)))"
    )
    child([sys.executable, "-c", code, str(tmp_path)])
    found = np.load(tmp_path / "found.npz")
    for at, rows in enumerate((1, 3, 61)):
        check(found[f"arr_{at}"], cases[f"x{rows}"], cases[f"m{rows}"], [values, scales])
    expected = cases["x61"].astype(np.float64) @ np.asarray(table, np.float64).T
    np.testing.assert_allclose(found["arr_3"], expected, rtol=1e-5, atol=1e-4)


def child(command: list[str]) -> str:
    paths = os.pathsep.join(str(Path(building.__file__).parents[i]) for i in (2, 3))
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
