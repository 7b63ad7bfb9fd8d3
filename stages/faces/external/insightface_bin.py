"""InsightFace's .bin files: a pickle of 2n encoded images, in a list, and n labels, True for two images of one person.

Pair i is images 2i and 2i + 1. People pass such files around, and to unpickle one runs whatever program it holds. So
Python's unpickler reads it only after a scan, and with a `find_class` that admits nine names:

- The scan, by the table of pickletools, refuses every instruction that a list of images does not need, any global that
  is not admitted, a length beyond the end of the file, and more instructions than the images need.
- An admitted name is a function or marker of this module, on plain values. NumPy's own functions are not called.

What is bounded: the size of the file (MAX_BYTES), the number of images (MAX_IMAGES) and the number of instructions,
hence memory: some times the size of the file, plus 32 MB. What is not: a file of the largest size takes minutes.

Python 2 wrote such files, and Python 3, with and without NumPy, in protocols 0 to 5; images as bytes, or as arrays of
bytes, as cv2.imencode returns them; labels as booleans, 0 and 1, NumPy's own, or an array of either.
"""

import io
import math
import pickle
import pickletools
import warnings
from pathlib import Path
from typing import Any, Literal, NamedTuple

from faces.core.errors import StageError

MAX_BYTES = 4 * 2**30  # the largest published file, 14,000 images, has some 100 MB
MAX_IMAGES = 1_000_000
BYTES_PER_INSTRUCTION = 16  # a pair has a thousand bytes or more, and 70 instructions at most
FREE_INSTRUCTIONS = 100_000  # so that a small file may have small images
INSTRUCTIONS = {code.code.encode("latin1"): code for code in pickletools.opcodes}
MAX_SHOWN = 100  # characters of a name in a message
KINDS = ("u1", "b1", "i1", "i2", "i4", "i8", "u2", "u4", "u8")  # of arrays: bytes, booleans and whole numbers
ORDERS: dict[str, Literal["little", "big"]] = {"<": "little", ">": "big", "|": "little", "=": "little"}
NEEDED = frozenset(
    "PROTO FRAME STOP NONE NEWTRUE NEWFALSE INT LONG BININT BININT1 BININT2 LONG1 STRING BINSTRING SHORT_BINSTRING "
    "BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 MARK EMPTY_LIST LIST "
    "APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET "
    "GLOBAL STACK_GLOBAL REDUCE BUILD".split()
)


class Bin(NamedTuple):
    """The content of a .bin file: pair i is images 2i and 2i + 1."""

    images: list[bytes]  # encoded, as in a file of their own
    same: list[bool]


def read_bin(path: Path) -> Bin:
    """Return the content of a .bin file; StageError says why it is none."""
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise ValueError(f"has {size:,} bytes; at most {MAX_BYTES:,} are read")
        return parse_bin(path.read_bytes())
    except ValueError as error:
        raise StageError(f"{path}: {error}") from None


def parse_bin(content: bytes) -> Bin:
    """Return the content of a .bin file, given as bytes; ValueError says why it is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Python warns of texts that no pickle has
        try:
            _scan(content)
            value = _Unpickler(io.BytesIO(content)).load()
        except _Refused:
            raise
        except (TypeError, AttributeError, pickle.UnpicklingError, Warning) as error:
            raise _Refused(_short(str(error))) from None
        except (ValueError, LookupError, EOFError, OverflowError, MemoryError) as error:
            raise ValueError(f"is damaged: {_short(str(error))}") from None
    return _check(value)


def _scan(content: bytes) -> None:
    """Raise ValueError unless a pickle consists of instructions that a list of images needs, and not more of them."""
    file, count = io.BytesIO(content), 0
    most = FREE_INSTRUCTIONS + len(content) // BYTES_PER_INSTRUCTION
    while (code := file.read(1)) != pickle.STOP:
        if not code:
            raise ValueError("the file is cut short")
        if (instruction := INSTRUCTIONS.get(code)) is None:
            raise ValueError(f"{code!r} is no instruction: this is no .bin of InsightFace")
        if instruction.name not in NEEDED | {"INST"}:
            raise _Refused(f"{instruction.name} is not needed for a list of images")
        argument = _read_argument(instruction, file)
        if instruction.name in ("GLOBAL", "INST"):
            _check_name(argument.replace(" ", ".", 1))
        if instruction.name == "INST":
            raise _Refused("INST is not needed for a list of images")
        if instruction.name.endswith("PUT") and argument > count:
            raise ValueError("it numbers more values than it has")
        if (count := count + 1) > most:
            raise ValueError("it has far more instructions than its images need")
    if file.tell() < len(content):
        raise ValueError("it goes on after its end")


def _read_argument(instruction: pickletools.OpcodeInfo, file: io.BytesIO) -> Any:
    if instruction.arg is None or instruction.name == "STRING":  # pickletools takes texts of Python 2 for ASCII
        return file.readline() if instruction.name == "STRING" else None
    return instruction.arg.reader(file)


class _Refused(ValueError):
    """The file asks for more than a list of images needs."""

    def __init__(self, what: str) -> None:
        super().__init__(f"is refused: {what}; nothing that the file names was run")


def _short(text: str) -> str:
    return repr(text[:MAX_SHOWN])[1:-1]


class _Marker:
    """A class that a file may name but not call."""


class _Array:
    """An array of bytes, booleans or whole numbers in one row; the unpickler sets its state."""

    kind, content = "", b""
    order: Literal["little", "big"] = "little"

    def __setstate__(self, state: Any) -> None:
        """Take the state of an ndarray: version, shape, dtype, whether Fortran order, bytes."""
        _, shape, dtype, _, content = state
        self.fill(shape, dtype, content)

    def fill(self, shape: Any, dtype: Any, content: Any) -> "_Array":
        """Take the content of an array, if it is in one row."""
        if not isinstance(dtype, _Dtype) or not isinstance(content, bytes | bytearray):
            raise _Refused(f"an array of {_type(dtype)} made of {_type(content)}")
        if not isinstance(shape, tuple) or not 1 <= len(shape) <= 2 or not all(type(size) is int for size in shape):
            raise _Refused("an array that is not one row")
        count, left = divmod(len(content), int(dtype.kind[1]))
        if left or max(shape) > count or math.prod(shape) != count or count not in shape:
            raise _Refused(f"an array of {len(content)} bytes whose shape does not fit")
        self.kind, self.content, self.order = dtype.kind, bytes(content), dtype.order
        return self

    def numbers(self) -> list[int]:
        """Return the items."""
        size, signed = int(self.kind[1]), self.kind[0] == "i"
        items = (self.content[start : start + size] for start in range(0, len(self.content), size))
        return [int.from_bytes(item, self.order, signed=signed) for item in items]


class _Dtype:
    """A dtype of whole numbers; the unpickler sets its byte order."""

    order: Literal["little", "big"] = "little"

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __setstate__(self, state: Any) -> None:
        """Take the state of such a dtype: version, byte order, and nothing more that matters."""
        if not isinstance(state, tuple):
            raise _Refused(f"a dtype with the state of {_type(state)}")
        order = state[1] if len(state) > 1 else "|"
        order = order.decode("latin1") if isinstance(order, bytes) else order
        if not isinstance(order, str) or order not in ORDERS:
            raise _Refused("a dtype of another byte order")
        self.order = ORDERS[order]


def _dtype(name: Any = None, align: Any = False, copy: Any = True) -> _Dtype:
    kind = name.decode("latin1") if isinstance(name, bytes) else name
    if not isinstance(kind, str) or any(type(flag) not in (bool, int) for flag in (align, copy)):
        raise _Refused("numpy.dtype of " + _type(name))
    if kind not in KINDS:
        raise _Refused(f"an array of {_short(kind)}")
    return _Dtype(kind)


def _reconstruct(kind: Any = None, shape: Any = None, code: Any = None) -> _Array:
    if kind is not _ADMITTED["numpy.ndarray"] or shape != (0,) or code not in (b"b", "b"):
        raise _Refused("numpy _reconstruct of anything but an empty array")
    return _Array()


def _scalar(dtype: Any = None, content: Any = None) -> int:
    if not isinstance(dtype, _Dtype) or not isinstance(content, bytes) or len(content) != int(dtype.kind[1]):
        raise _Refused(f"a scalar of {_type(dtype)} made of {_type(content)}")
    return _Array().fill((1,), dtype, content).numbers()[0]


def _from_buffer(content: Any = None, dtype: Any = None, shape: Any = None, _order: Any = None) -> _Array:
    return _Array().fill(shape, dtype, content)


_ADMITTED: dict[str, Any] = {
    "_codecs.encode": None,  # how Python 3 writes bytes in protocols 0 to 2; a method of the unpickler
    "numpy.ndarray": _Marker(),
    "numpy.dtype": _dtype,
    **{
        f"numpy.{core}.{name}": function
        for core in ("core", "_core")  # NumPy 1 and 2
        for name, function in {
            "multiarray._reconstruct": _reconstruct,
            "multiarray.scalar": _scalar,
            "numeric._frombuffer": _from_buffer,
        }.items()
    },
}


def _check_name(name: str) -> None:
    if name not in _ADMITTED:
        raise _Refused(f"{_short(name)} is not needed for a list of images")


class _Unpickler(pickle.Unpickler):
    """Python's unpickler, which finds nothing but the admitted names; texts of Python 2 stay bytes."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="bytes")
        self._encoded: dict[int, tuple[str, bytes]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands here for a name; ValueError if it is not admitted."""
        full = f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else "a global without a name"
        _check_name(full)
        return self._encode if full == "_codecs.encode" else _ADMITTED[full]

    def _encode(self, text: Any = None, codec: Any = None, *others: Any) -> bytes:
        """Return text in Latin-1; each text is encoded once, however often a file asks for it."""
        if not isinstance(text, str) or codec != "latin1" or others:
            raise _Refused(f"_codecs.encode of {_type(text)}")
        if id(text) not in self._encoded:
            self._encoded[id(text)] = text, text.encode("latin1")
        return self._encoded[id(text)][1]


def _check(value: object) -> Bin:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"holds {_type(value)}; expected a list of images and a list of labels")
    images, same = value
    if not isinstance(images, list | tuple):
        raise ValueError(f"has {_type(images)} for images; expected a list")
    if isinstance(same, _Array):
        same = same.numbers()
    if not isinstance(same, list | tuple):
        raise ValueError(f"has {_type(same)} for labels; expected a list")
    if not same or len(images) != 2 * len(same):
        raise ValueError(f"has {len(images)} images and {len(same)} labels; expected two images a label, 1 or more")
    if len(images) > MAX_IMAGES:
        raise ValueError(f"has {len(images):,} images; at most {MAX_IMAGES:,} are read")
    return Bin(
        [_image(image, f"image {number}") for number, image in enumerate(images)],
        [_label(label, f"label {number}") for number, label in enumerate(same)],
    )


def _image(value: object, which: str) -> bytes:
    if isinstance(value, _Array) and value.kind == "u1":
        return value.content
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    raise ValueError(f"{which} is {_type(value)}; expected bytes")


def _label(value: object, which: str) -> bool:
    if not isinstance(value, int):
        raise ValueError(f"{which} is {_type(value)}; expected True or False")
    if value not in (0, 1):
        raise ValueError(f"{which} is a number other than 0 and 1; expected True or False")
    return bool(value)


def _type(value: object) -> str:
    return "an array" if isinstance(value, _Array) else type(value).__name__.strip("_")
