"""Broken params.yaml files: wrong values, unknown and missing keys, and text that is no YAML."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from broken.files import HUGE, BrokenFile, not_even_files, put_content
from broken.images import RANDOM
from small_project import small_params

WRONG_FOR: dict[type, dict[str, Any]] = {
    int: {"text": "many", "quoted": "3", "fraction": 1.5, "huge": HUGE, "negative": -1, "boolean": True},
    float: {"text": "many", "quoted": "0.5", "huge": 1e300, "huge whole": HUGE, "negative": -1.0, "boolean": True},
    str: {"number": 3, "fraction": 0.5, "empty": "", "boolean": True, "list of text": ["lanczos"]},
    bool: {"number": 1, "zero": 0, "text": "true", "word": "yes", "fraction": 1.0},
    list: {"text": "many", "number": 1, "of text": ["1"], "of negative": [-1], "of huge": [HUGE], "of list": [[1]]}
    | {"of nan": [float("nan")], "of null": [None], "of infinity": [float("inf")], "of boolean": [True]},
}  # fmt: skip
WRONG_FOR_ALL: dict[str, Any] = {
    "nan": float("nan"),
    "infinity": float("inf"),
    "minus infinity": float("-inf"),
    "null": None,
    "empty list": [],
    "list": [1.5, "a"],
    "mapping": {"value": 1},
}
ARGUMENTS = {"pack": ("drawn",), "gather": ("outside",), "score": ("outside",)}
READ_BY = {
    "sources": "pack",
    "photos": "pack",
    "test_sets": "gather",
    "decoding": "pack",
    "runtime": "duplicates",
    "metrics": "evaluate",
    "augment": "train",
}
MAY_BE_EMPTY = (
    "validation_sources",
    "ranks",
    "false_accept_rates",
    "group_by",
    "index_parameters",
    "use",
    "licence",
    "contact",
)


def stage_of(section: str) -> str:
    return READ_BY.get(section, section)


def _params(section: str, values: Any, path: Path) -> None:
    """Write a params.yaml with `values` in place of a section, and as little else as its stage reads."""
    needed = ("sources", "runtime", "decoding", "pack", "duplicates", "metrics", "evaluate", "train")
    listed = {"outside": {"format": "csv", "images": "images", "pairs": "pairs.csv"}}
    content = {name: small_params()[name] for name in needed} | {"test_sets": listed} | {section: values}
    if section == "photos":
        content["sources"] = {"drawn": {"path": "images", "format": "photos"}}
    path.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")


def _of_params(name: str, section: str, values: Any, *said: str) -> BrokenFile:
    stage = stage_of(section)
    return BrokenFile(f"params.yaml: {name}", "params.yaml", partial(_params, section, values), stage, said)


def _wrong_params() -> Iterator[BrokenFile]:
    for section, values in small_params().items():
        for name, wrong in {"list": [1], "null": None, "text": "x", "number": 3, "nan": float("nan")}.items():
            yield _of_params(f"{section}: {name}", section, wrong, f"params.yaml: {section}")
        if section in ("sources", "test_sets"):
            continue
        yield _of_params(
            f"{section}: unknown key", section, values | {"zzz": 1}, f"params.yaml: {section}.zzz: unknown"
        )
        yield _of_params(f"{section}: key that is a number", section, values | {1: 1}, f"params.yaml: {section}")
        yield _of_params(f"{section}: empty", section, {}, f"params.yaml: {section}.{next(iter(values))}: missing")
        for key, value in values.items():
            where = f"params.yaml: {section}.{key}"
            for name, wrong in (WRONG_FOR_ALL | WRONG_FOR[type(value)]).items():
                if key in MAY_BE_EMPTY and name in ("empty", "empty list"):
                    continue  # nothing is asked for
                yield _of_params(f"{section}.{key}: {name}", section, values | {key: wrong}, where)
            others = {other: values[other] for other in values if other != key}
            yield _of_params(f"{section}.{key}: missing", section, others, f"{where}: missing")
            misspelt = others | {f"{key}_": value}
            yield _of_params(f"{section}.{key}: misspelt", section, misspelt, f"{where}: missing", f"{where}_: unknown")


def _wrong_sources() -> Iterator[BrokenFile]:
    names = ("", "a b", "a/b", "../a", ".a", "-a", "a.npy", "李", "a\n", "a,b", "_a", 1, 1.5, None, True)
    for name in names:
        yield _of_params(f"source called {name!r}", "sources", {name: {"path": "images"}}, "params.yaml: sources")
    paths = {"null": None, "number": 3, "nan": float("nan"), "list": ["images"], "empty": "", "mapping": {"a": "b"}}
    for kind, path in paths.items():
        yield _of_params(
            f"source: path {kind}", "sources", {"drawn": {"path": path}}, "params.yaml: sources.drawn.path"
        )
    for path in (
        "nowhere",
        "/nowhere/at all",
        "params.yaml",
        "im\0ages",
        "x" * 3000,
        "data",
        "models",
        "images/subject 0",
    ):
        said = "params.yaml: sources.drawn.path"
        yield _of_params(f"source: path {path[:20]!r}", "sources", {"drawn": {"path": path}}, said)
    source = {"drawn": {"path": "images", "zzz": 1}}
    yield _of_params("source: unknown key", "sources", source, "params.yaml: sources.drawn.zzz: unknown key")
    yield _of_params("source: without path", "sources", {"drawn": {}}, "params.yaml: sources.drawn.path: missing")
    yield _of_params("source: a bare path", "sources", {"drawn": "images"}, "params.yaml: sources.drawn")
    yield _of_params("source: none", "sources", {}, "params.yaml: sources")
    yield _of_params("source: another", "sources", {"other": {"path": "images"}}, "params.yaml: sources", "drawn")


def _split_section(text: str) -> bytes:
    return f"sources: {{drawn: {{path: images}}}}\n{text}\n".encode()


def _wrong_yaml() -> Iterator[BrokenFile]:
    rest = "test_size: 0.3, validation_size: 0.0, validation_subjects: 0.0, validation_sources: [], "
    rest += "unseen_subjects: 0.3, same_names: two_people, drop_copies: false"
    copies = "duplicates: {likeness: 0.98, neighbours: 8, exact_images: 100000}\n"
    fine = f"{copies}sources: {{drawn: {{path: images}}}}\nsplit: {{seed: 0, {rest}}}\n".encode()
    seed = f"split: {{{{seed: {{}}, {rest}}}}}"
    laughs = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 13))
    contents = {
        "empty": b"",
        "only a comment": b"# nothing\n",
        "a list": b"- split\n",
        "a word": b"split\n",
        "a number": b"3\n",
        "random bytes": RANDOM,
        "not UTF-8": fine + b"# \xff\n",
        "UTF-16": fine.decode().encode("utf-16"),
        "zero bytes within": fine.replace(b"seed", b"se\0ed"),
        "tabs": b"split:\n\tseed: 0\n",
        "unclosed brace": fine[:-2],
        "unclosed quote": fine + b"'",
        "two documents": fine + b"---\n" + fine,
        "unknown tag": _split_section(seed.format("!unknown 0")),
        "tag that runs code": _split_section(seed.format("!!python/object/apply:os.getpid []")),
        "unknown alias": _split_section(seed.format("*nothing")),
        "alias of itself": _split_section(seed.format("&a [*a]")),
        "laughs": f"a0: &a0 [1, 2]\n{laughs}".encode() + _split_section(seed.format("*a12")),
        "nested deeply": b"split: " + b"[" * 5000 + b"]" * 5000 + b"\n",
        "nested endlessly": b"split: " + b"[" * 100_000,
        "5000 digits": _split_section(seed.format("9" * 5000)),
        "5000 hexadecimal digits": _split_section(seed.format("0x" + "f" * 5000)),
        "number of many e": _split_section(seed.format("1e" + "9" * 50)),
        "a megabyte of text": _split_section(seed.format("x" * 1_000_000)),
        "key that is a list": _split_section("split: {[seed]: 0}"),
        "merge of a number": _split_section("split: {<<: 3, seed: 0}"),
        "key twice": _split_section(f"split: {{seed: 0, seed: 1, {rest}}}"),
        "section twice": fine + f"split: {{seed: 1, {rest}}}\n".encode(),
        "section missing": b"sources: {drawn: {path: images}}\n",
        "number of YAML 1.1, base 60": _split_section(seed.format("1:30")),
        "number of YAML 1.1, binary": _split_section(seed.format("0b11")),
        "number of YAML 1.1, underscores": _split_section(seed.format("1_000")),
        "number of another script": _split_section(seed.format("٣")),
        "date": _split_section(seed.format("2001-01-01")),
    }
    for name, content in contents.items():
        yield BrokenFile(
            f"params.yaml: {name}", "params.yaml", partial(put_content, content), "split", ("params.yaml",)
        )
    harmless = {
        "byte order mark": b"\xef\xbb\xbf" + fine,
        "CRLF": fine.replace(b"\n", b"\r\n"),
        "CR": fine.replace(b"\n", b"\r"),
    }
    for name, content in harmless.items():
        yield BrokenFile(f"params.yaml: {name}", "params.yaml", partial(put_content, content), "split", ())
    yield from not_even_files("params.yaml", "split")


SETTINGS = [*_wrong_params(), *_wrong_sources(), *_wrong_yaml()]
