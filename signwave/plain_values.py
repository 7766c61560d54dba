"""What a foreign pickle may call, and what comes of it: the part of `signwave.plain_pickle` that makes values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_DTYPE = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248]|c(8|16)|[SU]\d{1,9}|O8?)")
_MAX_DIMENSIONS = 32
_ENTRY_BYTES = 16
_KEY_TYPES = (str, bytes, int, float, type(None))


class Refused(Exception):
    """The file asks for something that is not plain data. Never leaves `signwave.plain_pickle`."""


class Global(NamedTuple):
    """A name that a pickle asks for; it stays a name."""

    module: str
    name: str

    @classmethod
    def of(cls, module: object, name: object) -> Global:
        """Check a name from the file; Python 2 called its `builtins` otherwise."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError("a name that is no text")
        made = cls({"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module), name)
        if made not in CALLS and made not in _NAMES:
            raise Refused(f"it asks for {made}")
        return made

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class OpaqueTensor(NamedTuple):
    """A torch tensor whose numbers were left in the file."""

    shape: tuple[int, ...]


@dataclass
class Pending:
    """An array or dtype between the call that announces it and the state that fills it."""

    dtype: np.dtype[Any] | None = None
    memo_keys: list[int] = field(default_factory=list)


def plain(value: Any, *, globals_too: bool = False) -> Any:
    """The value, unless it is half made or a mere name (allowed where call arguments are gathered)."""
    for part in value if type(value) is tuple else ():
        _refuse_unfinished(part, allowed=())
    _refuse_unfinished(value, allowed=(Global,) if globals_too else ())
    return value


def _refuse_unfinished(value: Any, *, allowed: tuple[type, ...]) -> None:
    if isinstance(value, Pending | Global) and not isinstance(value, allowed):
        what = f"the name {value} as a value" if isinstance(value, Global) else "an array that was never filled"
        raise Refused(what)


def checked_key(key: Any) -> Any:
    """A key of a dictionary or member of a set: hashing a deep tuple could take for ever, so tuples are flat."""
    parts = key if type(key) is tuple else (key,)
    if not all(isinstance(part, _KEY_TYPES) for part in parts):
        raise Refused(f"a dictionary key or set member of type {type(key).__name__}")
    return key


def memory_bytes(value: Any) -> int:
    """Memory that a call took for its result, about; an array that shows bytes of the file took none."""
    if isinstance(value, np.ndarray):
        return 0 if value.base is not None and not value.dtype.hasobject else value.nbytes
    if isinstance(value, str | bytes | bytearray):
        return len(value)
    return _ENTRY_BYTES * len(value) if isinstance(value, list | tuple | dict | set | frozenset) else 0


def build(target: Pending, state: Any) -> Any:
    """Fill a dtype or an array with the state that numpy writes."""
    if not isinstance(state, tuple):
        raise TypeError("numpy state that is no tuple")
    if target.dtype is not None:
        return _ordered(target.dtype, state)
    _, shape, dtype, is_fortran, raw = state
    return _array(raw, dtype, shape, order="F" if is_fortran else "C")


def _ordered(dtype: np.dtype[Any], state: tuple[Any, ...]) -> np.dtype[Any]:
    """A dtype with its byte order: state is (version, order, sub-dtype, names, fields, …)."""
    if any(part is not None for part in state[2:5]) or state[1] not in ("<", ">", "=", "|"):
        raise Refused("a structured numpy dtype")
    return dtype if state[1] in ("|", "=") else dtype.newbyteorder(state[1])


def _dtype(code: Any, *_: Any) -> Pending:
    text = code.decode("latin-1") if isinstance(code, bytes) else code
    if not isinstance(text, str) or not _DTYPE.fullmatch(text):
        raise Refused(f"the numpy dtype {text!r}")
    return Pending(np.dtype(text))


def _array(raw: Any, dtype: Any, shape: Any, order: str = "C") -> NDArray[Any]:
    """An array of checked size; no memory is taken beyond what the file holds."""
    shape = (shape,) if isinstance(shape, int) else shape
    if not isinstance(dtype, np.dtype) or not isinstance(shape, tuple) or order not in ("C", "F"):
        raise TypeError("an array without dtype, shape or order")
    if len(shape) > _MAX_DIMENSIONS or not all(type(side) is int and 0 <= side < 2**40 for side in shape):
        raise ValueError(f"an array of shape {shape}")
    count = math.prod(shape)
    if dtype.hasobject:
        return _object_array(raw, count, shape, order)
    data = raw.encode("latin-1") if isinstance(raw, str) else raw
    if not isinstance(data, bytes | bytearray) or len(data) != count * dtype.itemsize or dtype.itemsize == 0:
        raise ValueError(f"an array of shape {shape} and dtype {dtype} with other than its bytes")
    flat = np.frombuffer(data, dtype=dtype)
    return (flat if dtype.isnative else flat.astype(dtype.newbyteorder("="))).reshape(shape, order=order)  # type: ignore[call-overload, no-any-return]


def _object_array(values: Any, count: int, shape: tuple[int, ...], order: str) -> NDArray[Any]:
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"an array of shape {shape} with other than its objects")
    array = np.empty(count, dtype=object)
    for place, value in enumerate(values):  # one by one: numpy would unpack nested lists
        array[place] = value
    return array.reshape(shape, order=order)  # type: ignore[call-overload, no-any-return]


def _reconstruct(kind: Any, shape: Any, code: Any) -> Pending:
    del shape, code  # of an empty array, which the state replaces
    if kind != Global("numpy", "ndarray"):
        raise Refused(f"an array of {kind}")
    return Pending()


def _scalar(dtype: Any, raw: Any = None) -> Any:
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise Refused("a numpy number without a plain dtype")
    return _array(raw, dtype, ()).item()


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: Any, axis_order: Any = None) -> NDArray[Any]:
    if axis_order is not None:
        raise Refused("an array in an order of its own")
    return _array(raw, dtype, shape, order)


def _encode(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or str(encoding).replace("-", "") != "latin1":
        raise Refused(f"text in the encoding {encoding!r}")
    return text.encode("latin-1")


def _set(values: Any = ()) -> set[Any]:
    return {checked_key(value) for value in _sequence(values)}


def _dictionary(pairs: Any = ()) -> dict[Any, Any]:
    if isinstance(pairs, dict):
        return dict(pairs)
    return {checked_key(key): plain(value) for key, value in _sequence(pairs)}


def _default_dictionary(factory: Any = None) -> dict[Any, Any]:
    if factory is not None and factory not in _NAMES and factory not in CALLS:
        raise Refused(f"a default dictionary of {factory!r}")
    return {}


def _sequence(values: Any) -> Any:
    if not isinstance(values, list | tuple | set | frozenset):
        raise TypeError(f"a {type(values).__name__} where values are listed")
    return values


def _bytes(value: Any = b"", encoding: Any = "latin1") -> bytes:
    return _encode(value, encoding) if isinstance(value, str) else bytes(_octets(value))


def _octets(value: Any) -> Any:
    """Bytes, or a list of small numbers; a single number would ask for that many bytes."""
    return value if isinstance(value, bytes) else _sequence(value)


def _complex(real: Any, imaginary: Any) -> complex:
    return complex(float(real), float(imaginary))


def _tensor(storage: Any, offset: Any, size: Any, *_: Any) -> OpaqueTensor:
    del storage, offset
    return OpaqueTensor(tuple(int(side) for side in _sequence(size)))


_NAMES = frozenset(
    {Global("numpy", "ndarray"), *(Global("builtins", name) for name in ("int", "str", "float", "bool", "object"))}
)
"""Names that may stand as arguments."""

CALLS: Mapping[Global, Callable[..., Any]] = {
    **{
        Global(f"numpy.{core}.{module}", name): function
        for core in ("core", "_core")
        for module, name, function in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
    Global("numpy", "dtype"): _dtype,
    Global("_codecs", "encode"): _encode,
    Global("collections", "OrderedDict"): _dictionary,
    Global("collections", "Counter"): _dictionary,
    Global("collections", "defaultdict"): _default_dictionary,
    Global("builtins", "set"): _set,
    Global("builtins", "frozenset"): lambda values=(): frozenset(_set(values)),
    Global("builtins", "list"): lambda values=(): list(_sequence(values)),
    Global("builtins", "tuple"): lambda values=(): tuple(_sequence(values)),
    Global("builtins", "dict"): _dictionary,
    Global("builtins", "bytes"): _bytes,
    Global("builtins", "bytearray"): lambda value=b"", encoding="latin1": bytearray(_bytes(value, encoding)),
    Global("builtins", "complex"): _complex,
    Global("torch.storage", "_load_from_bytes"): lambda raw: OpaqueTensor((len(raw),)),
    Global("torch._utils", "_rebuild_tensor_v2"): _tensor,
    Global("torch", "Size"): lambda size=(): tuple(_sequence(size)),
}
"""What the machine does itself where a pickle asks to call something."""
