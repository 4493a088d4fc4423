"""Int8 weights with bfloat16 scales, by groups of rows, as the release stores them."""

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
LARGEST = 127


def quantise(weight: Float32, groups: int) -> tuple[NDArray[np.int8], Float32]:
    """Rounds ``weight`` ``[..., in, out]`` to int8 with ``groups`` scales along ``in``.

    Returns:
        The int8 weight and its scales ``[..., groups, out]``, float32 that bfloat16 holds exactly.
        A scale is first rounded to bfloat16 and the weight then divided by it, so that the
        rounding of the scale costs next to nothing.
    """
    *lead, rows, columns = weight.shape
    grouped = weight.reshape(*lead, groups, rows // groups, columns)
    largest = np.max(np.abs(grouped), axis=-2, keepdims=True)
    scales = (np.maximum(largest, 1e-12) / LARGEST).astype(ml_dtypes.bfloat16).astype(np.float32)
    rounded = np.clip(np.rint(grouped / scales), -LARGEST, LARGEST).astype(np.int8)
    return rounded.reshape(weight.shape), np.squeeze(scales, axis=-2)


def dequantise(weight: NDArray[np.int8], scales: Float32) -> Float32:
    """The float32 weight that an int8 weight and its scales stand for."""
    *lead, rows, columns = weight.shape
    groups = scales.shape[-2]
    grouped = weight.astype(np.float32).reshape(*lead, groups, rows // groups, columns)
    wide: Float32 = (grouped * scales[..., :, None, :]).reshape(weight.shape)
    return wide
