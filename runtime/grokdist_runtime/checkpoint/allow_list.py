"""Everything a shard may name and build: five globals, one array type, one pair of arrays.

The rules are about stand-ins of our own: a :class:`Global` is an enum member, a dtype a name, an
array a place in the file. Nothing is imported or called, whatever a shard says. What is not
written here is refused; there is no list of bad things.

Source: the ``__reduce__`` of NumPy's array and dtype, and the release's ``QuantizedWeight8bit``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from grokdist_runtime.checkpoint.refusal import Refusal, printable
from grokdist_runtime.checkpoint.tensor_table import ITEM_SIZE

MAX_RANK = 4
"""Most dimensions an array may have; the release has at most 3."""

MAX_DIM = 2**31 - 1
"""Largest dimension an array may have."""


class Global(Enum):
    """The only things a shard may refer to by name."""

    QUANTISED_WEIGHT = "QuantizedWeight8bit"
    RECONSTRUCT = "_reconstruct"
    NDARRAY = "ndarray"
    DTYPE = "dtype"
    BFLOAT16 = "bfloat16"


# Whole pairs, compared exactly: a module that is allowed allows nothing else that is in it, nor
# in its submodules. NumPy 2 renamed the module that holds `_reconstruct`.
_GLOBALS: dict[tuple[str, str], Global] = {
    ("__main__", "QuantizedWeight8bit"): Global.QUANTISED_WEIGHT,
    ("numpy.core.multiarray", "_reconstruct"): Global.RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): Global.RECONSTRUCT,
    ("numpy", "ndarray"): Global.NDARRAY,
    ("numpy", "dtype"): Global.DTYPE,
    ("ml_dtypes", "bfloat16"): Global.BFLOAT16,
}

_DTYPE_CODES = {"i1": "int8", "f4": "float32"}

# The state NumPy gives each dtype: version, byte order, three times nothing (subarray, names,
# fields), size, alignment, flags. ml_dtypes set one flag more before 0.6, as in the release.
_DTYPE_STATES: dict[str, tuple[tuple[object, ...], ...]] = {
    "int8": ((3, "|", None, None, None, -1, -1, 0),),
    "float32": ((3, "<", None, None, None, -1, -1, 0),),
    "bfloat16": ((3, "<", None, None, None, 2, 2, 64), (3, "<", None, None, None, 2, 2, 80)),
}


@dataclass(kw_only=True, slots=True, eq=False)
class Payload:
    """Raw bytes in the file, not read.

    Attributes:
        offset: of the first byte.
        length: in bytes.
        placeholder: it is the one byte ``b`` that stands for a type code, not data.
        used: an array took it.
    """

    offset: int
    length: int
    placeholder: bool
    used: bool = False


@dataclass(kw_only=True, slots=True, eq=False)
class Dtype:
    """Stand-in for a NumPy dtype; without its state it is not complete."""

    name: str
    complete: bool = False


@dataclass(kw_only=True, slots=True, eq=False)
class Array:
    """Stand-in for a NumPy array; without a payload it is not complete."""

    dtype: str = ""
    shape: tuple[int, ...] = ()
    payload: Payload | None = None


@dataclass(kw_only=True, slots=True, eq=False)
class QuantisedWeight:
    """Stand-in for the release's pair of an int8 weight and its scales."""

    weight: Array | None = None
    scales: Array | None = None


@dataclass(kw_only=True, slots=True, eq=False)
class State:
    """Stand-in for the dictionary that fills a quantised weight."""

    items: tuple[tuple[str, Array], ...] = ()


def find_global(module: object, name: object) -> Global:
    """Look up what STACK_GLOBAL asks for.

    Raises:
        Refusal: the operands are not two literal strings, or the pair is not allowed.
    """
    if type(module) is not str or type(name) is not str:
        raise Refusal(f"a global named by {kind(module)} and {kind(name)}", "two literal strings")
    found = _GLOBALS.get((module, name))
    if found is None:
        raise Refusal(
            f"global {printable(module)} {printable(name)}",
            "one of " + ", ".join(f"{module}.{name}" for module, name in _GLOBALS),
        )
    return found


def reduce(function: object, arguments: object) -> Array | Dtype:
    """What REDUCE may make: an empty array, or a dtype.

    Raises:
        Refusal: any other function, or arguments NumPy does not write.
    """
    if function is Global.RECONSTRUCT:
        match arguments:
            case (Global.NDARRAY, (first,), Payload(placeholder=True)) if _same((first,), (0,)):
                return Array()
        raise Refusal("_reconstruct with other arguments", "(ndarray, (0,), b'b')")
    if function is Global.DTYPE:
        match arguments:
            case (Global.BFLOAT16, False, True):
                return Dtype(name="bfloat16")
            case (str(code), False, True) if code in _DTYPE_CODES:
                return Dtype(name=_DTYPE_CODES[code])
            case (str(code), _, _):
                raise Refusal(f"dtype {printable(code)}", "i1 or f4, not aligned, copied")
        raise Refusal("dtype with other arguments", "a type, False, True")
    raise Refusal(f"REDUCE on {kind(function)}", "_reconstruct or dtype")


def new_object(cls: object, arguments: object) -> QuantisedWeight:
    """What NEWOBJ may make: a quantised weight, of no arguments.

    Raises:
        Refusal: any other class, or any argument.
    """
    if cls is not Global.QUANTISED_WEIGHT or arguments != ():
        raise Refusal(
            f"NEWOBJ on {kind(cls)} with {kind(arguments)}", "QuantizedWeight8bit with ()"
        )
    return QuantisedWeight()


def set_items(target: object, items: list[object]) -> None:
    """What SETITEMS may fill: one empty state, with a weight and scales.

    Raises:
        Refusal: any other target, key, value, order or number.
    """
    match items:
        case ["weight", Array(payload=Payload()) as weight, "scales", Array() as scales] if (
            isinstance(target, State) and not target.items and scales.payload is not None
        ):
            target.items = (("weight", weight), ("scales", scales))
        case _:
            raise Refusal(
                f"SETITEMS of {len(items)} values on {kind(target)}",
                "an empty dictionary given a weight and scales",
            )


def build(target: object, state: object) -> None:
    """What BUILD may complete: an array, a dtype or a quantised weight, each once.

    Raises:
        Refusal: any other target, or a state NumPy does not write.
    """
    match target:
        case Dtype(complete=False):
            if not isinstance(state, tuple) or not any(
                _same(state, known) for known in _DTYPE_STATES[target.name]
            ):
                raise Refusal(f"another state of dtype {target.name}", "the one NumPy writes")
            target.complete = True
        case Array(payload=None):
            _fill_array(target, state)
        case QuantisedWeight(weight=None):
            if not isinstance(state, State) or len(state.items) != 2:
                raise Refusal(f"a state of {kind(state)}", "a dictionary of weight and scales")
            (_, target.weight), (_, target.scales) = state.items
        case _:
            raise Refusal(f"BUILD on {kind(target)}", "a new array, dtype or quantised weight")


def kind(value: object) -> str:
    """What a value is, in words; never its contents."""
    if isinstance(value, Global):
        return value.value
    names = {
        str: "a string",
        int: "an integer",
        bool: "a boolean",
        tuple: "a tuple",
        Payload: "raw bytes",
        Dtype: "a dtype",
        Array: "an array",
        QuantisedWeight: "a quantised weight",
        State: "a dictionary",
    }
    return names.get(type(value), "nothing")


def _fill_array(array: Array, state: object) -> None:
    match state:
        case (int(version), tuple(shape), Dtype(complete=True) as dtype, False, Payload() as raw):
            pass
        case (_, _, _, True, _):
            raise Refusal("an array in Fortran order", "C order")
        case _:
            raise Refusal("another state of an array", "version, shape, dtype, order, bytes")
    if not _same((version,), (1,)):
        raise Refusal(f"version {version} of an array's state", "1")
    if not 1 <= len(shape) <= MAX_RANK:
        raise Refusal(f"an array of {len(shape)} dimensions", f"1 to {MAX_RANK}")
    for dim in shape:
        if type(dim) is not int or not 1 <= dim <= MAX_DIM:
            shown = str(dim) if type(dim) is int else kind(dim)
            raise Refusal(f"a dimension of {shown}", f"an integer from 1 to {MAX_DIM}")
    length = math.prod(shape) * ITEM_SIZE[dtype.name]
    if raw.length != length:
        raise Refusal(
            f"a payload of {raw.length} bytes", f"{length} for {dtype.name} of shape {shape}"
        )
    if raw.used:
        raise Refusal("one payload for two arrays", "a payload for each")
    raw.used = True
    array.dtype, array.shape, array.payload = dtype.name, shape, raw


def _same(found: tuple[object, ...], expected: tuple[object, ...]) -> bool:
    """Equal in value and in type: to Python, True equals 1."""
    return found == expected and [type(x) for x in found] == [type(x) for x in expected]
