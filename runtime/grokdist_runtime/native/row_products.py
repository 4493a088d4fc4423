"""The kernel for rows of a table as a JAX operation, for programs that run on a CPU.

``row_products.cc`` says what it computes and trusts the shapes that are checked here.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from grokdist_runtime.native.library import target


def row_products(x: jax.Array, table: jax.Array) -> jax.Array:
    """``x @ table.T``, summed in float32; the table is read once and not widened in memory.

    Args:
        x: ``[R, K]`` float32.
        table: ``[V, K]`` float32 or bfloat16.

    Returns:
        ``[R, V]`` float32.
    """
    if x.ndim != 2 or table.ndim != 2 or x.shape[1] != table.shape[1]:
        raise ValueError(f"got shapes {x.shape} and {table.shape}; expected [R, K] and [V, K]")
    if x.dtype != jnp.float32 or table.dtype not in (jnp.float32, jnp.bfloat16):
        raise TypeError(f"got {x.dtype} and {table.dtype}; expected float32, and it or bfloat16")
    shape = jax.ShapeDtypeStruct((x.shape[0], table.shape[0]), jnp.float32)
    out: jax.Array = jax.ffi.ffi_call(target("row_products"), shape)(x, table)
    return out
