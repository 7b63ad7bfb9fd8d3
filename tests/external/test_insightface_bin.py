"""What is read from a .bin, and that nothing else can be made of one: not code, not memory, not a crash."""

import base64
import pickle
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faces.core.errors import StageError
from faces.external.insightface_bin import Bin, parse_bin, read_bin

IMAGES = [b"\xff\xd8 one\n\\'\"\t\r\x00\x80", b"it's", b'th"ree', b"\x00"]
SAME = [True, False]
OTHERS = [
    line.split()
    for line in (Path(__file__).parents[1] / "data/insightface_bins.txt").read_text(encoding="ascii").splitlines()
    if not line.startswith("#")
]


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(content: bytes) -> Bin:
    Path("pairs.bin").write_bytes(content)
    return read_bin(Path("pairs.bin"))


def error_of(content: bytes) -> str:
    with pytest.raises(StageError) as error:
        read(content)
    message = str(error.value)
    assert message.startswith("pairs.bin: ") and "\n" not in message and len(message) < 500
    return message


# Good files


def arrays(shape: Callable[[int], tuple[int, ...]]) -> list[np.ndarray]:
    return [np.frombuffer(image, np.uint8).reshape(shape(len(image))) for image in IMAGES]


SHAPES: dict[str, Any] = {
    "bytes, booleans": (IMAGES, SAME),
    "bytes, whole numbers": (IMAGES, [1, 0]),
    "bytes, numpy.bool_": (IMAGES, [np.bool_(True), np.bool_(False)]),
    "bytes, array of booleans": (IMAGES, np.array(SAME)),
    "bytes, array of int64": (IMAGES, np.array([1, 0])),
    "bytes, array of numbers, highest byte first": (IMAGES, np.array([1, 0], ">i4")),
    "bytes, numbers of NumPy": (IMAGES, [np.int64(1), np.uint16(0)]),
    "bytes, array of bytes": (IMAGES, np.array([1, 0], np.uint8)),
    "tuples in a list": [tuple(IMAGES), tuple(SAME)],
    "arrays in a row, read-only": (arrays(lambda size: (size,)), SAME),
    "arrays in a column": ([array.copy() for array in arrays(lambda size: (size, 1))], SAME),
    "arrays with a first axis of one": ([array.copy() for array in arrays(lambda size: (1, size))], [np.bool_(1), 0]),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_in_every_protocol(shape: str, protocol: int) -> None:
    found = read(pickle.dumps(SHAPES[shape], protocol))
    assert found == (IMAGES, SAME)
    assert all(type(image) is bytes for image in found.images) and all(type(label) is bool for label in found.same)


@pytest.mark.parametrize("writer, protocol, shape, content", OTHERS, ids=lambda value: value[:20])
def test_files_of_python_2_and_of_numpy_2(writer: str, protocol: str, shape: str, content: str) -> None:
    assert read(base64.b64decode(content)) == (IMAGES, SAME)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_images_of_all_bytes_and_many_pairs(protocol: int) -> None:
    """More than 256 images and 1,000 labels: pickles number what they repeat in another way, and append in batches."""
    random = np.random.default_rng(0)
    images = [random.bytes(int(size)) for size in random.integers(1, 600, 2400)] + [bytes(range(256))] * 2
    same = [bool(label) for label in random.integers(0, 2, 1201)]
    assert read(pickle.dumps((images, same), protocol)) == (images, same)


# Attacks: each has `touch pwned` run when it is unpickled, which the second test makes sure of


class Touch:
    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("touch pwned",)


class Evaluate:
    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("__import__('os').system('touch pwned')",)


def name(module: str, attribute: str) -> bytes:
    """Return the instructions that name a global in protocol 4, which lets a name have dots."""
    return b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, attribute)) + b"\x93"


CALL = b"(S'touch pwned'\ntR."
ENCODE, NDARRAY, DTYPE = b"c_codecs\nencode\n", b"cnumpy\nndarray\n", b"cnumpy\ndtype\n"
RECONSTRUCT, SCALAR = (b"cnumpy.core.multiarray\n" + function for function in (b"_reconstruct\n", b"scalar\n"))
ARRAY = RECONSTRUCT + b"(" + NDARRAY + b"(K\x00tC\x01btR"
BYTES_KIND = DTYPE + b"(X\x02\x00\x00\x00u1\x89\x88tR"
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)

ATTACKS: dict[str, tuple[bytes, str]] = {
    **{f"os.system, protocol {n}": (pickle.dumps((IMAGES, [Touch()]), n), "posix.system") for n in PROTOCOLS},
    **{f"eval, protocol {n}": (pickle.dumps([Evaluate()], n), "eval") for n in PROTOCOLS},
    **{
        f"array of objects, protocol {n}": (
            pickle.dumps((np.array([Touch()], object), SAME), n),
            "posix.system" if n < 4 else "O8",  # in older protocols the name of the function is found first
        )
        for n in PROTOCOLS
    },
    "GLOBAL": (b"cposix\nsystem\n" + CALL, "posix.system"),
    "STACK_GLOBAL": (name("posix", "system") + CALL, "posix.system"),
    "INST": (b"(S'touch pwned'\niposix\nsystem\n.", "posix.system"),
    "OBJ": (b"(cposix\nsystem\nS'touch pwned'\no.", "posix.system"),
    "by another module": (b"cos\nsystem\n" + CALL, "os.system"),
    "getattr": (b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n(S'os'\ntRS'system'\ntR" + CALL, "builtins.getattr"),
    "a chain of names": (b"\x80\x04" + name("os", "path.os.system") + CALL, "os.path.os.system"),
    "a chain from an admitted module": (
        b"\x80\x04" + name("numpy", "lib.npyio.os.system") + CALL,
        "numpy.lib.npyio.os.system",
    ),
    "after good content": (pickle.dumps((IMAGES, SAME))[:-1] + b"0cposix\nsystem\n" + CALL, "POP"),
    "through the memo": (b"\x80\x04" + name("posix", "system") + b"\x94h\x00" + CALL, "posix.system"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_by_name_and_nothing_runs(attack: str) -> None:
    content, named = ATTACKS[attack]
    message = error_of(content)
    assert named in message and "refused" in message
    assert not Path("pwned").exists()


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_attack_is_one(attack: str) -> None:
    pickle.loads(ATTACKS[attack][0])
    assert Path("pwned").exists()


REFUSED: dict[str, tuple[bytes, str]] = {
    "persistent id": (b"Pposix\n.", "PERSID"),
    "persistent id on the stack": (b"I1\nQ.", "BINPERSID"),
    "extension code of 1 byte": (b"\x82\x01.", "EXT1"),
    "extension code of 2 bytes": (b"\x83\x01\x00.", "EXT2"),
    "extension code of 4 bytes": (b"\x84\x01\x00\x00\x00.", "EXT4"),
    "new object": (BYTES_KIND + b")\x81.", "NEWOBJ"),
    "new object with keywords": (BYTES_KIND + b")}\x92.", "EMPTY_DICT"),
    "new object with keywords from nowhere": (b"\x92.", "NEWOBJ_EX"),
    "dictionary": (b"(d.", "DICT"),
    "set": (b"\x8f.", "EMPTY_SET"),
    "frozen set": (b"(\x91.", "FROZENSET"),
    "fraction": (b"F1.5\n.", "FLOAT"),
    "long number": (b"\x8b\xff\xff\xff\x7f.", "LONG4"),
    "buffer outside": (b"\x97.", "NEXT_BUFFER"),
    "call of a list": (b"](tR.", "'list' object is not callable"),
    "call of a text": (b"X\x01\x00\x00\x00a(tR.", "'str' object is not callable"),
    "call with a list": (ENCODE + b"]R.", "argument list must be a tuple"),
    "call of a class": (NDARRAY + b"(I9\ntR.", "'_Marker' object is not callable"),
    "call of an array": (ARRAY + b"(tR.", "'_Array' object is not callable"),
    "another codec": (ENCODE + b"(X\x01\x00\x00\x00aX\x04\x00\x00\x00zlibtR.", "_codecs.encode"),
    "codec of bytes": (ENCODE + b"(C\x01aX\x06\x00\x00\x00latin1tR.", "_codecs.encode"),
    "codec with errors": (
        ENCODE + b"(X\x01\x00\x00\x00aX\x06\x00\x00\x00latin1X\x01\x00\x00\x00xtR.",
        "_codecs.encode",
    ),
    "attribute of a function": (name("_codecs", "encode.__self__") + b".", "_codecs.encode.__self__"),
    "subclass of arrays": (RECONSTRUCT + b"(cnumpy\nmemmap\n(K\x00tC\x01btR.", "numpy.memmap"),
    "array of another class": (RECONSTRUCT + b"(" + DTYPE + b"(K\x00tC\x01btR.", "_reconstruct"),
    "array of a size": (RECONSTRUCT + b"(" + NDARRAY + b"(J\xff\xff\xff\x7ftC\x01btR.", "_reconstruct"),
    "objects": (DTYPE + b"(X\x02\x00\x00\x00O8\x89\x88tR.", "an array of O8"),
    "fields": (DTYPE + b"(]X\x02\x00\x00\x00u1\x89\x88tR.", "_dtype() takes from 0 to 3"),
    "scalar of an object": (SCALAR + b"(" + BYTES_KIND + b"]tR.", "a scalar of Dtype made of list"),
    "state of a list": (b"](tb.", "state is not a dictionary"),
    "state of a function": (ENCODE + b"(tb.", "state is not a dictionary"),
    "state of a kind": (BYTES_KIND + b"]b.", "a dtype with the state of list"),
    "global of a number": (b"I1\nI2\n\x93.", "STACK_GLOBAL requires str"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_needed_is_refused_by_name(case: str) -> None:
    content, named = REFUSED[case]
    message = error_of(content)
    assert named in message and "refused" in message


def test_a_long_name_is_cut_and_cannot_write_to_the_terminal() -> None:
    message = error_of(b"c" + b"\x1b[2J" + b"x" * 10_000 + b"\nsystem\n.")
    assert r"\x1b[2Jxxx" in message


# Memory and time


def peak(content: bytes) -> int:
    """Return how much memory reading takes that ends in an error."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError):
            parse_bin(content)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


LATIN1 = b"X\x06\x00\x00\x00latin1"
ARGUMENTS = b"(X" + struct.pack("<I", 10**6) + b"x" * 10**6 + LATIN1 + b"tq\x01"

BOMBS = {
    "bytes without end": b"\x8e" + struct.pack("<Q", 2**62),
    "text without end": b"\x8d" + struct.pack("<Q", 2**62),
    "array without end": b"\x96" + struct.pack("<Q", 2**62),
    "bytes of 4 GB": b"B\xff\xff\xff\xff",
    "text of negative length": b"T\xff\xff\xff\xff",
    "frame of all memory": b"\x95" + struct.pack("<Q", 2**62) + b".",
    "memo of 4 billion": b"Nr\xff\xff\xff\xff.",
    "memo of a long number": b"Np" + b"9" * 90 + b"\n.",
    "a number of a million digits": b"I" + b"9" * 10**6 + b"\n.",
    "lists alone": b"]" * 10**6,
    "memo alone": b"]" + b"\x94" * 10**6,
    "one text, encoded over and over": ENCODE + b"q\x00" + ARGUMENTS + b"R" + b"h\x00h\x01R" * 60_000 + b".",
    "one array, set over and over": ARRAY + b"q\x00" + b"h\x00" * 60_000 + b".",
    "array of a huge shape": ARRAY + b"(K\x01(" + b"J\xff\xff\xff\x7f" * 2 + b"t" + BYTES_KIND + b"\x89C\x01xtb.",
    "array of many axes": ARRAY + b"(K\x01(" + b"K\x01" * 10_000 + b"t" + BYTES_KIND + b"\x89C\x01xtb.",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_memory_stays_in_proportion(bomb: str) -> None:
    """32 MB for the instructions that every file has free, 250 bytes each and more; then some times the file."""
    assert peak(BOMBS[bomb]) < 32_000_000 + 10 * len(BOMBS[bomb])


def test_more_instructions_than_images_need_are_refused() -> None:
    assert "far more instructions than its images need" in error_of(b"]" * 10**6)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "content",
    [
        b"]" + b"\x85" * 90_000 + b".",  # a tuple in a tuple in a tuple
        b"(" * 90_000 + b"t" * 90_000 + b".",
        b"]q\x00h\x00a.",  # a list in itself
        b"]q\x00h\x00ah\x00a.",
        DTYPE + b"(" + b"]" + b"\x85" * 90_000 + b"\x89\x88tR.",
        RECONSTRUCT + b"(" + NDARRAY + b"]" + b"\x85" * 90_000 + b"C\x01btR.",
        b"]q\x00h\x00ah\x00aq\x01h\x01\x86.",
    ],
)
def test_what_is_deep_or_in_a_circle_is_no_list_of_images(content: bytes) -> None:
    error_of(content)


# Broken files


GOOD = pickle.dumps((IMAGES, [True, np.bool_(False)]), 4)


@pytest.mark.parametrize("content", [GOOD, *(base64.b64decode(row[3]) for row in OTHERS if row[2] == "arrays")])
def test_a_file_cut_short_anywhere_is_named(content: bytes) -> None:
    for size in range(len(content)):
        error_of(content[:size])


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "cut short"),
        (b"\xff\xd8\xff\xe0", "no .bin"),
        (b"<html>404 not found</html>\n", "no .bin"),
        (bytes(1000), "no .bin"),
        (GOOD + b"\n", "goes on after its end"),
        (GOOD + GOOD, "goes on after its end"),
        (b".", "unpickling stack underflow"),
        (b"h\x07.", "Memo value not found at index 7"),
        (b"t.", "could not find MARK"),
        (b"a.", "unpickling stack underflow"),
        (b"N\x87.", "unpickling stack underflow"),
        (b"NNa.", "'NoneType' object has no attribute 'append'"),
        (b"Sabc\n.", "STRING opcode argument must be quoted"),
        (rb"S'\q'" + b"\n.", "invalid escape sequence"),
        (b"Iten\n.", "invalid literal for int()"),
        (b"I1", "no newline found"),
        (b"X\x01\x00\x00\x00\xff.", "is damaged"),
        (b"V\\u12\n.", "is damaged"),
        (ENCODE + "(V山\n".encode("raw_unicode_escape") + LATIN1 + b"tR.", "is damaged"),
        (pickle.dumps(IMAGES), "image"),
        (pickle.dumps(7), "holds int"),
        (pickle.dumps((IMAGES, SAME, SAME)), "holds tuple; expected a list of images and a list of labels"),
        (pickle.dumps((b"images", SAME)), "has bytes for images"),
        (pickle.dumps((IMAGES, 2)), "has int for labels"),
        (pickle.dumps((IMAGES, None)), "has NoneType for labels"),
        (pickle.dumps(([], [])), "has 0 images and 0 labels"),
        (pickle.dumps((IMAGES[:3], SAME)), "has 3 images and 2 labels; expected two images a label"),
        (pickle.dumps((IMAGES, SAME * 2)), "has 4 images and 4 labels"),
        (pickle.dumps((IMAGES, np.array(SAME * 2))), "has 4 images and 4 labels"),
        (pickle.dumps(([*IMAGES[:3], "text"], SAME)), "image 3 is str; expected bytes"),
        (pickle.dumps(([*IMAGES[:3], None], SAME)), "image 3 is NoneType"),
        (pickle.dumps(([*IMAGES[:3], np.array([True])], SAME)), "image 3 is an array"),
        (pickle.dumps(([*IMAGES[:3], np.zeros((4, 4), np.uint8)], SAME)), "shape does not fit"),
        (pickle.dumps(([*IMAGES[:3], np.zeros((1, 2, 2), np.uint8)], SAME)), "not one row"),
        (pickle.dumps(([*IMAGES[:3], np.zeros(4, np.float32)], SAME)), "an array of f4"),
        (pickle.dumps((IMAGES, [True, 2])), "label 1 is a number other than 0 and 1"),
        (pickle.dumps((IMAGES, [True, -1])), "label 1 is a number other than 0 and 1"),
        (pickle.dumps((IMAGES, [True, None])), "label 1 is NoneType"),
        (pickle.dumps((IMAGES, [True, b"\1"])), "label 1 is bytes"),
        (pickle.dumps((IMAGES, np.array([1, 2], np.uint8))), "label 1 is a number other than 0 and 1"),
        (pickle.dumps((IMAGES, np.array([1, 256]))), "label 1 is a number other than 0 and 1"),
        (pickle.dumps((IMAGES, np.array([-1, 1]))), "label 0 is a number other than 0 and 1"),
        (pickle.dumps((IMAGES, np.array([1.0, 0.0]))), "an array of f8"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value,
)
def test_a_broken_file_is_named(content: bytes, said: str) -> None:
    assert said in error_of(content)


few = settings(deadline=None, derandomize=True, max_examples=400)


def plain_or_an_error(content: bytes) -> None:
    try:
        found = parse_bin(content)
    except ValueError:
        return
    assert all(type(image) is bytes for image in found.images) and all(type(label) is bool for label in found.same)


@few
@given(st.sampled_from([GOOD, *(base64.b64decode(row[3]) for row in OTHERS)]), st.data())
def test_a_file_with_wrong_bytes_gives_plain_values_or_an_error(good: bytes, data: st.DataObject) -> None:
    content = bytearray(good)
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(good) - 1), st.integers(0, 255)), max_size=4)):
        content[at] = value
    plain_or_an_error(bytes(content))


PLAIN = [LATIN1, b"C\x01b", b"X\x01\x00\x00\x00a", b"K\x00"]
PIECES = [ENCODE, NDARRAY, DTYPE, RECONSTRUCT, SCALAR, ARRAY, BYTES_KIND, *PLAIN]
OPERATIONS = [bytes([code]) for code in b"(tl])a\x85\x86\x87e\x93RbN\x88\x89\x94"] + [b"q\x00", b"h\x00"]


@few
@given(st.lists(st.sampled_from(PIECES + OPERATIONS), max_size=40))
def test_any_program_gives_plain_values_or_an_error(program: list[bytes]) -> None:
    plain_or_an_error(b"".join(program) + b".")
