"""The kernel for int8 matrices in a stack as a JAX operation, for programs that run on a CPU.

``grouped_matmul.cc`` says what it computes and trusts the shapes that are checked here.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from grokdist_runtime.native.library import target


def grouped_matmul(
    x: jax.Array, matrix: jax.Array, stacks: Sequence[tuple[jax.Array, jax.Array]]
) -> list[jax.Array]:
    """Multiplies each row with the matrix that it names, in every stack.

    Args:
        x: ``[R, K]`` float32.
        matrix: ``[P]`` int32, ``P`` a multiple of ``R``: row ``i`` of the result is
            ``x[i // (P // R)] @ stack[matrix[i]]``, the stack's leading axes taken as one;
            below 0 the row is zero.
        stacks: Values ``[..., K, N]`` int8 and scales ``[..., G, N]`` float32, ``G`` a divisor of
            ``K``: group ``g`` scales rows ``g * K / G`` up to ``(g + 1) * K / G``. All stacks have
            the same leading axes; ``N`` and ``G`` may differ.

    Returns:
        ``[P, N]`` float32 for each stack.
    """
    rows, depth = x.shape
    if matrix.ndim != 1 or not matrix.shape[0] or matrix.shape[0] % rows:
        raise ValueError(f"matrix has shape {matrix.shape}; expected a multiple of {rows} rows")
    if x.dtype != jnp.float32 or matrix.dtype != jnp.int32:
        raise TypeError(f"got {x.dtype} and {matrix.dtype}; expected float32 and int32")
    lead = stacks[0][0].shape[:-2]
    for values, scales in stacks:
        fits = (
            values.shape[:-1] == (*lead, depth)
            and scales.shape[:-2] == lead
            and scales.shape[-1] == values.shape[-1]
            and depth % scales.shape[-2] == 0
        )
        if not fits or values.dtype != jnp.int8 or scales.dtype != jnp.float32:
            raise ValueError(
                f"got values {values.dtype} {values.shape} and scales {scales.dtype} "
                f"{scales.shape}; expected [..., {depth}, N] int8 and [..., G, N] float32"
            )
    results = [
        jax.ShapeDtypeStruct((matrix.shape[0], values.shape[-1]), jnp.float32)
        for values, _ in stacks
    ]
    call = jax.ffi.ffi_call(target("grouped_matmul"), results)
    out: list[jax.Array] = list(call(x, matrix, *(array for stack in stacks for array in stack)))
    return out
