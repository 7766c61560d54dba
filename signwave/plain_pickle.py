"""Read foreign pickles without running them: only plain data and numpy arrays can come out, whatever the file says.

A pickle is a program that may call anything. Here its instructions (protocols 0 to 5) are listed with `pickletools`,
which runs nothing, and carried out by a small machine that knows containers, numbers, text, bytes and the few calls
that numpy, `collections` and torch write. Every other name is an error that says the name. Also `.npy` files, among
them those that hold a dictionary.

    annotations = read_plain("phoenix-2014t.train")          # packed with gzip or not
"""

from __future__ import annotations

import gzip
import io
import mmap
import pickletools
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from signwave.errors import UserError
from signwave.media.paths import local_file
from signwave.plain_values import CALLS, Global, Pending, Refused, build, checked_key, memory_bytes, plain

_NPY_MAGIC = b"\x93NUMPY"
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK_BYTES = 1 << 20
_DAMAGE = (ValueError, TypeError, IndexError, KeyError, EOFError, OverflowError, MemoryError, RecursionError)
_DAMAGE_TYPES = (*_DAMAGE, AttributeError, struct.error, zlib.error, OSError)


@dataclass(frozen=True)
class PickleLimits:
    """What one file may cost."""

    max_bytes: int = 8 * 2**30
    """Size of the file, unpacked; and, once more, of what it copies from its own values."""
    max_steps: int = 50_000_000
    """Instructions; each makes at most one object."""


DEFAULT_PICKLE_LIMITS = PickleLimits()


def read_plain(path: str | Path, *, limits: PickleLimits = DEFAULT_PICKLE_LIMITS) -> Any:
    """Read a pickle, packed with gzip or not, or a `.npy` file.

    Ordered and default dictionaries come out as `dict`, numpy numbers as Python's, torch tensors as `OpaqueTensor`
    (their shape only). Arrays may be read-only.

    Args:
        path: a local file.
        limits: caps; a file over them is refused.

    Raises:
        UserError: the file is missing, too large, cut off or damaged, or asks for anything but plain data.
    """
    file = local_file(path)
    try:
        with _opened(file, limits) as stream:
            return _read(stream, path, limits)
    except Refused as error:
        raise UserError(
            f"{path}: refused: {error}; only plain data and numpy arrays are read from pickles, "
            "convert the file where it was made"
        ) from error
    except _DAMAGE_TYPES as error:
        detail = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise UserError(f"{path}: is no complete pickle or .npy file ({detail}); fetch it again") from error


def _read(stream: IO[bytes] | mmap.mmap, path: str | Path, limits: PickleLimits) -> Any:
    if stream.read(len(_NPY_MAGIC)) != _NPY_MAGIC:
        stream.seek(0)
        return _Machine(limits).run(stream)
    stream.seek(0)
    version = np.lib.format.read_magic(stream)  # type: ignore[no-untyped-call]
    if version == (1, 0):
        _, _, dtype = np.lib.format.read_array_header_1_0(stream)  # type: ignore[no-untyped-call]
        if dtype.hasobject:
            array = _Machine(limits).run(stream)
            return array.item() if isinstance(array, np.ndarray) and array.ndim == 0 else array
    stream.seek(0)
    return np.load(io.BytesIO(stream.read()), allow_pickle=False)


@contextmanager
def _opened(file: Path, limits: PickleLimits) -> Iterator[IO[bytes] | mmap.mmap]:
    """The unpacked bytes; a plain file is mapped, so that its arrays are held in memory once."""
    size = file.stat().st_size
    if size > limits.max_bytes:
        raise Refused(f"{size} bytes, over the limit max_bytes={limits.max_bytes}")
    if size == 0:
        raise EOFError("an empty file of 0 bytes")
    with file.open("rb") as raw:
        if raw.read(2) == _GZIP_MAGIC:
            raw.seek(0)
            yield io.BytesIO(_unpacked(raw, limits))
            return
        with mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            yield mapped


def _unpacked(raw: IO[bytes], limits: PickleLimits) -> bytes:
    pieces, size = [], 0
    with gzip.GzipFile(fileobj=raw) as packed:
        while piece := packed.read(_CHUNK_BYTES):
            size += len(piece)
            if size > limits.max_bytes:
                raise Refused(f"it unpacks to more than max_bytes={limits.max_bytes}")
            pieces.append(piece)
    return b"".join(pieces)


class _Machine:
    """The pickle machine: a stack, marks on it, and a memo; nothing is ever imported or called by name."""

    def __init__(self, limits: PickleLimits) -> None:
        self.limits = limits
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.num_copied_bytes = 0

    def run(self, stream: IO[bytes] | mmap.mmap) -> Any:
        for step, (code, argument, _) in enumerate(pickletools.genops(stream)):  # type: ignore[arg-type]
            if step > self.limits.max_steps:
                raise Refused(f"more than max_steps={self.limits.max_steps} instructions")
            if code.name == "STOP":
                return plain(self.stack.pop())
            if code.name in _LITERALS:
                self.stack.append(argument)
                continue
            action = _ACTIONS.get(code.name)
            if action is None:
                raise Refused(f"the instruction {code.name}")
            action(self, argument)
        raise EOFError("it ends before its STOP")

    def push(self, value: Any) -> None:
        """Put a value on the stack that is the stack once the value is made (taking a mark changes it)."""
        self.stack.append(value)

    def pop_marked(self) -> list[Any]:
        """The values since the last mark."""
        values, self.stack = self.stack, self.marked.pop()
        return values

    def container(self, kind: type | tuple[type, ...]) -> Any:
        """The container on top of the stack."""
        if not isinstance(self.stack[-1], kind):
            raise Refused(f"a {type(self.stack[-1]).__name__} that is filled like another type")
        return self.stack[-1]

    def remember(self, key: int) -> None:
        value = self.memo[key] = self.stack[-1]
        if isinstance(value, Pending):
            value.memo_keys.append(key)

    def recall(self, key: int) -> None:
        value = self.memo[key]
        if isinstance(value, Pending):
            raise Refused("an array that holds itself")
        self.stack.append(value)

    def push_tuple(self, length: int) -> None:
        if length > len(self.stack):
            raise IndexError("the stack is empty")
        values = [plain(value, globals_too=True) for value in self.stack[len(self.stack) - length :]]
        del self.stack[len(self.stack) - length :]
        self.stack.append(tuple(values))

    def reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Global) or function not in CALLS:
            raise Refused(f"it calls {function if isinstance(function, Global) else type(function).__name__}")
        if type(arguments) is not tuple:
            raise TypeError("a call without a tuple of arguments")
        self.stack.append(self.charged(CALLS[function](*arguments)))

    def charged(self, value: Any) -> Any:
        """The value, after its memory is counted: a few bytes of file could copy a long list again and again."""
        self.num_copied_bytes += memory_bytes(value)
        if self.num_copied_bytes > self.limits.max_bytes:
            raise Refused(f"it copies its values beyond max_bytes={self.limits.max_bytes}")
        return value

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack.pop()
        if not isinstance(target, Pending):
            raise Refused(f"it sets the state of a {type(target).__name__}")
        value = self.charged(build(target, state))
        for key in target.memo_keys:
            self.memo[key] = value
        self.stack.append(value)


def _items(machine: _Machine, values: list[Any]) -> None:
    target = machine.container(dict)
    if len(values) % 2:
        raise ValueError("a dictionary with a key without a value")
    for key, value in zip(values[::2], values[1::2], strict=True):
        target[checked_key(key)] = plain(value)


def _extend(machine: _Machine, values: list[Any]) -> None:
    machine.container(list).extend(plain(value) for value in values)


def _dict(machine: _Machine, _: Any) -> None:
    values = machine.pop_marked()
    machine.stack.append({})
    _items(machine, values)


def _mark(machine: _Machine, _: Any) -> None:
    machine.marked.append(machine.stack)
    machine.stack = []


def _marked_tuple(machine: _Machine, _: Any) -> None:
    values = machine.pop_marked()
    machine.stack.append(tuple(plain(value, globals_too=True) for value in values))


def _set_item(machine: _Machine, _: Any) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _items(machine, [key, value])


def _append(machine: _Machine, _: Any) -> None:
    value = machine.stack.pop()
    _extend(machine, [value])


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(Global.of(module, name))


def _new_object(machine: _Machine, _: Any) -> None:
    raise Refused(f"it makes an object of {machine.stack[-2] if len(machine.stack) > 1 else 'an unknown class'}")


def _old_instance(machine: _Machine, argument: Any) -> None:
    raise Refused(f"it makes an object of {str(argument).replace(' ', '.')}")


def _push(make: Callable[[], Any]) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.stack.append(make())


_LITERALS = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
        *("FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    )
)
"""Instructions whose argument is the value."""
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "MARK": _mark,
    "POP": lambda machine, _: machine.stack.pop(),
    "POP_MARK": lambda machine, _: machine.pop_marked().clear(),
    "DUP": lambda machine, _: machine.stack.append(plain(machine.stack[-1])),
    "NONE": _push(lambda: None),
    "NEWTRUE": _push(lambda: True),
    "NEWFALSE": _push(lambda: False),
    "EMPTY_LIST": _push(list),
    "EMPTY_DICT": _push(dict),
    "EMPTY_TUPLE": _push(tuple),
    "EMPTY_SET": _push(set),
    "APPEND": _append,
    "APPENDS": lambda machine, _: _extend(machine, machine.pop_marked()),
    "LIST": lambda machine, _: machine.push([plain(value) for value in machine.pop_marked()]),
    "TUPLE": _marked_tuple,
    "TUPLE1": lambda machine, _: machine.push_tuple(1),
    "TUPLE2": lambda machine, _: machine.push_tuple(2),
    "TUPLE3": lambda machine, _: machine.push_tuple(3),
    "DICT": _dict,
    "SETITEM": _set_item,
    "SETITEMS": lambda machine, _: _items(machine, machine.pop_marked()),
    "ADDITEMS": lambda machine, _: _add(machine, machine.pop_marked()),
    "FROZENSET": lambda machine, _: machine.push(frozenset(map(checked_key, machine.pop_marked()))),
    "GET": lambda machine, key: machine.recall(key),
    "BINGET": lambda machine, key: machine.recall(key),
    "LONG_BINGET": lambda machine, key: machine.recall(key),
    "PUT": lambda machine, key: machine.remember(key),
    "BINPUT": lambda machine, key: machine.remember(key),
    "LONG_BINPUT": lambda machine, key: machine.remember(key),
    "MEMOIZE": lambda machine, _: machine.remember(len(machine.memo)),
    "GLOBAL": lambda machine, name: machine.stack.append(Global.of(*name.split(" ", 1))),
    "STACK_GLOBAL": _stack_global,
    "REDUCE": lambda machine, _: machine.reduce(),
    "BUILD": lambda machine, _: machine.build(),
    "NEWOBJ": _new_object,
    "NEWOBJ_EX": _new_object,
    "INST": _old_instance,
    "OBJ": lambda machine, _: _old_instance(machine, next(iter(machine.pop_marked()), "an unknown class")),
}


def _add(machine: _Machine, values: list[Any]) -> None:
    machine.container(set).update(map(checked_key, values))
