"""InsightFace's .bin: a pickle of 2n encoded images, in a list, and n labels, True for two images of one person.

Pair i is images 2i and 2i + 1. Such files are passed around, and to unpickle one is to run whatever program it holds.
So no unpickler reads it here, but an interpreter of its own for the few instructions that such a list needs:

- An instruction that is not in `_INSTRUCTIONS` is refused by name: there is none for persistent ids, extension codes,
  instances, dictionaries, or buffers outside the file.
- Nothing is imported or looked up. A global is a pair of names, to be found in `_GLOBALS`, and on the stack it is a
  member of an enumeration, which nothing can call. `_call` says what each of them means, on plain values; NumPy
  has no part in it. What is not there is refused by its name.
- On the stack are None, numbers, bytes, texts, tuples, lists, and the `_Array` and `_Kind` of this file, and whatever
  the file makes of these is checked once more before it is returned as bytes and booleans. No tuple or list of the
  file's is hashed, compared with another, printed or copied, so nesting them deeply or in a circle leads nowhere.
- Memory stays in proportion to the size of the file: a length that runs past the end is an error before anything is
  set aside for it; an instruction pushes one value at most, of no more bytes than it read; and the number of
  instructions is limited by the size (`_BYTES_AN_INSTRUCTION`). The one call that makes something new out of what is
  already there, _codecs.encode, makes it once for each text.

Python 2 wrote such files, and Python 3, with and without NumPy, in protocols 0 to 5; images as bytes, or as arrays of
bytes, which is what cv2.imencode returns; labels as booleans, 0 and 1, numpy.bool_, or an array.
"""

import math
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any, NamedTuple

from faces.core.errors import StageError

_BYTES_AN_INSTRUCTION = 16  # or more; a pair is a thousand bytes or more, and 70 instructions at most
_FREE_INSTRUCTIONS = 100_000  # so that a small file may have small images
_SHOWN = 100  # characters of a name


class Bin(NamedTuple):
    """What a .bin file holds: pair i is images 2i and 2i + 1."""

    images: list[bytes]  # encoded, as in a file of their own
    same: list[bool]


class _Global(Enum):
    """The functions and classes that a file may name."""

    ENCODE = auto()  # how Python 3 writes bytes in protocols 0 to 2
    NDARRAY = auto()
    DTYPE = auto()
    RECONSTRUCT = auto()  # an array, empty until its state is set
    FROM_BUFFER = auto()  # an array, in protocol 5
    SCALAR = auto()


_GLOBALS = {
    "_codecs.encode": _Global.ENCODE,
    "numpy.ndarray": _Global.NDARRAY,
    "numpy.dtype": _Global.DTYPE,
    "numpy.core.multiarray._reconstruct": _Global.RECONSTRUCT,
    "numpy.core.multiarray.scalar": _Global.SCALAR,
    "numpy.core.numeric._frombuffer": _Global.FROM_BUFFER,
    "numpy._core.multiarray._reconstruct": _Global.RECONSTRUCT,  # NumPy 2
    "numpy._core.multiarray.scalar": _Global.SCALAR,
    "numpy._core.numeric._frombuffer": _Global.FROM_BUFFER,
}


class _Kind(Enum):
    """The arrays that a file may hold, all of one byte an item, so that their order does not matter."""

    UINT8 = "u1"
    BOOL = "b1"


@dataclass(eq=False)
class _Array:
    kind: _Kind | None = None
    content: bytes = b""

    def set(self, shape: object, kind: object, content: object) -> None:
        """Take what an array holds, if it is in one row."""
        if not isinstance(kind, _Kind) or not isinstance(content, bytes):
            raise ValueError(f"an array of {_type(kind)} made of {_type(content)}")
        if not isinstance(shape, tuple) or not 1 <= len(shape) <= 2 or not all(type(size) is int for size in shape):
            raise ValueError("an array that is not one row")
        if max(shape) > len(content) or math.prod(shape) != len(content) or len(content) not in shape:
            raise ValueError(f"an array of {len(content)} bytes whose shape does not fit")
        self.kind, self.content = kind, content


def read_bin(path: Path) -> Bin:
    """Return what a .bin file holds; StageError says why it is none."""
    try:
        return _checked(_Machine(path.read_bytes()).run())
    except ValueError as error:
        raise StageError(f"{path}: {error}") from None


def _checked(value: object) -> Bin:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"holds {_type(value)}; expected a list of images and a list of labels")
    images, same = value
    if not isinstance(images, list | tuple):
        raise ValueError(f"has {_type(images)} for images; expected a list")
    if isinstance(same, _Array):
        same = list(same.content)
    if not isinstance(same, list | tuple):
        raise ValueError(f"has {_type(same)} for labels; expected a list")
    if not same or len(images) != 2 * len(same):
        raise ValueError(f"has {len(images)} images and {len(same)} labels; expected two images a label, 1 or more")
    return Bin(
        [_image(image, f"image {number}") for number, image in enumerate(images)],
        [_label(label, f"label {number}") for number, label in enumerate(same)],
    )


def _image(value: object, which: str) -> bytes:
    if isinstance(value, _Array) and value.kind is _Kind.UINT8:
        value = value.content
    if not isinstance(value, bytes):
        raise ValueError(f"{which} is {_type(value)}; expected bytes")
    return value


def _label(value: object, which: str) -> bool:
    if not isinstance(value, int):
        raise ValueError(f"{which} is {_type(value)}; expected a boolean")
    if value not in (0, 1):
        raise ValueError(f"{which} is a number other than 0 and 1")
    return bool(value)


def _type(value: object) -> str:
    if isinstance(value, _Array):
        return "an array"
    return f"the name {value.name}" if isinstance(value, _Global) else type(value).__name__.lstrip("_")


def _shown(name: str) -> str:
    return ascii(name[:_SHOWN])[1:-1]


# The interpreter


class _Machine:
    """Runs the instructions of one pickle; ValueError names the first that is wrong, or not admitted."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.position = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []  # sizes of the stack
        self.memo: dict[int, Any] = {}
        self.encoded: dict[str, bytes] = {}

    def run(self) -> object:
        """Return the value of the pickle."""
        left = _FREE_INSTRUCTIONS + len(self.content) // _BYTES_AN_INSTRUCTION
        try:
            while (code := self.take(1)) != pickle.STOP:
                if code not in _NAMES:
                    raise ValueError(f"is damaged or no .bin: no instruction at byte {self.position - 1}")
                if code not in _INSTRUCTIONS:
                    raise ValueError(f"is refused: {_NAMES[code]} {_NOT_NEEDED}")
                _INSTRUCTIONS[code](self)
                left -= 1
                if left == 0:
                    raise ValueError("is refused: far more instructions than its images need")
            value = self.pop()
        except (IndexError, KeyError):
            raise ValueError(f"is damaged: at byte {self.position} it asks for what is not there") from None
        except (UnicodeDecodeError, UnicodeEncodeError) as error:
            raise ValueError(f"is damaged: before byte {self.position}: {error.reason}") from None
        if self.position != len(self.content):
            raise ValueError(f"is damaged: goes on after its end, at byte {self.position}")
        return value

    # What follows an instruction

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        start, self.position = self.position, self.position + size
        if self.position > len(self.content):
            raise ValueError(f"is damaged or no .bin: cut short, or a wrong length, at byte {start}")
        return self.content[start : self.position]

    def number(self, size: int, signed: bool = False) -> int:
        """Return the next number, of so many bytes."""
        return int.from_bytes(self.take(size), "little", signed=signed)

    def counted(self, size: int) -> bytes:
        """Return the bytes after their count, which has `size` bytes."""
        return self.take(self.number(size))

    def line(self) -> bytes:
        """Return the bytes up to the end of the line."""
        end = self.content.find(b"\n", self.position)
        if end < 0:
            raise ValueError(f"is damaged or no .bin: a line without an end, at byte {self.position}")
        return self.take(end + 1 - self.position)[:-1]

    def digits(self) -> int:
        """Return the number, or the boolean, that the next line spells."""
        line = self.line().removesuffix(b"L")
        if line in (b"00", b"01"):
            return line == b"01"
        if not line.removeprefix(b"-").isdigit() or len(line) > _SHOWN:
            raise ValueError(f"is damaged: no number, before byte {self.position}")
        return int(line)

    # The stack

    def push(self, value: object) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Take the last value off the stack."""
        return self.stack.pop()

    def pop_marked(self) -> list[Any]:
        """Take off what came after the last mark."""
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def tuple_of(self, size: int) -> None:
        """Put the last `size` values into a tuple."""
        if len(self.stack) < size:
            raise IndexError
        values = tuple(self.stack[-size:])
        del self.stack[-size:]
        self.push(values)

    def append(self, values: list[Any]) -> None:
        """Append to the list that is last on the stack."""
        if not isinstance(self.stack[-1], list):
            raise ValueError(f"is damaged: appends to {_type(self.stack[-1])}, before byte {self.position}")
        self.stack[-1].extend(values)

    def append_last(self) -> None:
        """Append the last value to the list before it."""
        self.append([self.pop()])

    def remember(self, key: int) -> None:
        """Let the last value be asked for by a number."""
        self.memo[key] = self.stack[-1]

    def recall(self, key: int) -> None:
        """Push what a number stands for."""
        self.push(self.memo[key])

    # Globals

    def name(self, module: object, name: object) -> None:
        """Push what stands for a global, if it is one of `_GLOBALS`."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError(f"is refused: a global whose name is {_type(module)} and {_type(name)}")
        if f"{module}.{name}" not in _GLOBALS:
            raise ValueError(f"is refused: {_shown(module)}.{_shown(name)} {_NOT_NEEDED}")
        self.push(_GLOBALS[f"{module}.{name}"])

    def name_on_lines(self) -> None:
        """Push the global that two lines name."""
        self.name(self.line().decode("utf-8"), self.line().decode("utf-8"))

    def name_on_stack(self) -> None:
        """Push the global that the last two values name."""
        name, module = self.pop(), self.pop()
        self.name(module, name)

    def instance(self) -> None:
        """Refuse what INST names: no class is needed that way."""
        module, name = (_shown(self.line().decode("latin-1")) for _ in range(2))
        raise ValueError(f"is refused: {module}.{name} {_NOT_NEEDED}")

    def call(self) -> None:
        """Put what a global makes of its arguments in their place."""
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, _Global) or not isinstance(arguments, tuple):
            raise ValueError(f"is refused: calls {_type(function)} with {_type(arguments)}")
        self.push(self._call(function, arguments))

    def _call(self, function: _Global, arguments: tuple[Any, ...]) -> object:
        match function, arguments:
            case _Global.ENCODE, (str(text), "latin1"):
                if text not in self.encoded:
                    self.encoded[text] = text.encode("latin-1")
                return self.encoded[text]
            case _Global.DTYPE, (str() | bytes() as code, int(), int()):
                return _kind(code)
            case _Global.RECONSTRUCT, (_Global.NDARRAY, (0,), b"b"):
                return _Array()
            case _Global.FROM_BUFFER, (content, kind, shape, str()):
                array = _Array()
                array.set(shape, kind, content)
                return array
            case _Global.SCALAR, (_Kind(), bytes(content)) if len(content) == 1:
                return content[0]
        raise ValueError(f"is refused: {function.name} is not called so in a list of images")

    def build(self) -> None:
        """Set the state of an array, which is what it holds; a kind's has nothing to say."""
        state, target = self.pop(), self.stack[-1]
        match target, state:
            case _Kind(), tuple():
                pass
            case _Array(), (1, shape, kind, int(), content):
                target.set(shape, kind, content)
            case _:
                raise ValueError(f"is refused: sets the state of {_type(target)} to {_type(state)}")


def _kind(code: str | bytes) -> _Kind:
    text = code.decode("latin-1") if isinstance(code, bytes) else code
    for kind in _Kind:
        if text == kind.value:
            return kind
    raise ValueError(f"is refused: an array of {_shown(text)}; expected bytes, u1, or booleans, b1")


def _unquoted(line: bytes) -> bytes:
    """Return the bytes that Python 2 spells as a quoted text."""
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
        raise ValueError("is damaged: a text without quotes")
    return _ESCAPE.sub(_unescaped, line[1:-1])


def _unescaped(escape: re.Match[bytes]) -> bytes:
    if escape[1]:
        return bytes.fromhex(escape[1].decode("ascii"))
    if escape[2] not in _ESCAPED:
        raise ValueError("is damaged: a text with what Python 2 does not write")
    return _ESCAPED[escape[2]]


_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.?))", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"\\": b"\\", b"'": b"'", b'"': b'"'}
_NOT_NEEDED = "is not needed for a list of images; nothing that the file names was run"
_NAMES = {code: name for name, code in vars(pickle).items() if name.isupper() and isinstance(code, bytes)}

_INSTRUCTIONS: dict[bytes, Callable[[_Machine], object]] = {
    pickle.PROTO: lambda machine: machine.take(1),
    pickle.FRAME: lambda machine: machine.take(8),
    pickle.NONE: lambda machine: machine.push(None),
    pickle.NEWTRUE: lambda machine: machine.push(True),
    pickle.NEWFALSE: lambda machine: machine.push(False),
    pickle.INT: lambda machine: machine.push(machine.digits()),
    pickle.LONG: lambda machine: machine.push(machine.digits()),
    pickle.BININT: lambda machine: machine.push(machine.number(4, signed=True)),
    pickle.BININT1: lambda machine: machine.push(machine.number(1)),
    pickle.BININT2: lambda machine: machine.push(machine.number(2)),
    pickle.LONG1: lambda machine: machine.push(int.from_bytes(machine.counted(1), "little", signed=True)),
    pickle.STRING: lambda machine: machine.push(_unquoted(machine.line())),
    pickle.BINSTRING: lambda machine: machine.push(machine.counted(4)),
    pickle.SHORT_BINSTRING: lambda machine: machine.push(machine.counted(1)),
    pickle.BINBYTES: lambda machine: machine.push(machine.counted(4)),
    pickle.SHORT_BINBYTES: lambda machine: machine.push(machine.counted(1)),
    pickle.BINBYTES8: lambda machine: machine.push(machine.counted(8)),
    pickle.BYTEARRAY8: lambda machine: machine.push(machine.counted(8)),
    pickle.UNICODE: lambda machine: machine.push(machine.line().decode("raw_unicode_escape")),
    pickle.BINUNICODE: lambda machine: machine.push(machine.counted(4).decode("utf-8")),
    pickle.SHORT_BINUNICODE: lambda machine: machine.push(machine.counted(1).decode("utf-8")),
    pickle.BINUNICODE8: lambda machine: machine.push(machine.counted(8).decode("utf-8")),
    pickle.MARK: lambda machine: machine.marks.append(len(machine.stack)),
    pickle.EMPTY_LIST: lambda machine: machine.push([]),
    pickle.LIST: lambda machine: machine.push(machine.pop_marked()),
    pickle.APPEND: _Machine.append_last,
    pickle.APPENDS: lambda machine: machine.append(machine.pop_marked()),
    pickle.EMPTY_TUPLE: lambda machine: machine.push(()),
    pickle.TUPLE: lambda machine: machine.push(tuple(machine.pop_marked())),
    pickle.TUPLE1: lambda machine: machine.tuple_of(1),
    pickle.TUPLE2: lambda machine: machine.tuple_of(2),
    pickle.TUPLE3: lambda machine: machine.tuple_of(3),
    pickle.PUT: lambda machine: machine.remember(machine.digits()),
    pickle.BINPUT: lambda machine: machine.remember(machine.number(1)),
    pickle.LONG_BINPUT: lambda machine: machine.remember(machine.number(4)),
    pickle.MEMOIZE: lambda machine: machine.remember(len(machine.memo)),
    pickle.GET: lambda machine: machine.recall(machine.digits()),
    pickle.BINGET: lambda machine: machine.recall(machine.number(1)),
    pickle.LONG_BINGET: lambda machine: machine.recall(machine.number(4)),
    pickle.GLOBAL: _Machine.name_on_lines,
    pickle.STACK_GLOBAL: _Machine.name_on_stack,
    pickle.INST: _Machine.instance,
    pickle.REDUCE: _Machine.call,
    pickle.BUILD: _Machine.build,
}
