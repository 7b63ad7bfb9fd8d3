from pathlib import Path

import pytest

from faces.core.errors import StageError
from faces.tables.sources import load_sources, packed_folder, rejects_path

pytestmark = pytest.mark.usefixtures("in_new_folder")


def write_params(text: str) -> None:
    Path("params.yaml").write_text(text, encoding="utf-8")


def test_sources_keep_their_order_and_paths() -> None:
    write_params("sources:\n  zoo-1: {path: data/zoo}\n  Lfw_2: {path: '/faces/my folder'}\n")
    sources = load_sources()
    assert [(name, source.path) for name, source in sources.items()] == [
        ("zoo-1", "data/zoo"),
        ("Lfw_2", "/faces/my folder"),
    ]


def test_a_source_is_a_folder_of_images_unless_it_says_otherwise() -> None:
    write_params("sources: {a: {path: a}, b: {path: b, format: folder}, c: {path: c, format: recordio}}")
    assert [source.format for source in load_sources().values()] == ["folder", "folder", "recordio"]


def test_a_source_is_packed_under_its_name() -> None:
    assert packed_folder("lfw") == Path("data/packed/lfw")


def test_rejects_are_listed_outside_the_folder_that_later_stages_depend_on() -> None:
    assert rejects_path("lfw") == Path("data/rejected/lfw.csv")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("pack: {}", "`sources:` is missing"),
        ("sources:", "params.yaml: sources: should have keys: {<key>: <value>, …}"),
        ("sources: {}", "params.yaml: sources: dictionary should have at least 1 item"),
        ("sources: [a]", "params.yaml: sources: should have keys: {<key>: <value>, …}"),
        ("sources: {a: data/a}", "params.yaml: sources.a: 'data/a': should have keys: {<key>: <value>, …}"),
        ("sources: {a: {}}", "params.yaml: sources.a.path: missing"),
        ("sources: {a: {path: }}", "params.yaml: sources.a.path: None: input should be a valid string"),
        ("sources: {a: {path: ''}}", "params.yaml: sources.a.path: '': string should have at least 1 character"),
        ("sources: {a: {path: 7}}", "params.yaml: sources.a.path: 7: input should be a valid string"),
        ("sources: {a: {path: x, glob: y}}", "params.yaml: sources.a.glob: unknown key"),
        (
            "sources: {a: {path: x, format: rec}}",
            "format: 'rec': input should be 'folder', 'photos' or 'recordio'",
        ),
        (
            "sources: {a: {path: x, format: }}",
            "format: None: input should be 'folder', 'photos' or 'recordio'",
        ),
        ("sources: {a: {path: x, depth: 0}}", "sources.a.depth: 0: input should be greater than or equal to 1"),
        ("sources: {a: {path: x, depth: 2, format: recordio}}", "depth is of folders, and format recordio has none"),
        ("sources: {7: {path: x}}", "7: input should be a valid string"),
        ("sources: {a/b: {path: x}}", "'a/b': string should match pattern '^[A-Za-z0-9]"),
        ("sources: {..: {path: x}}", "'..': string should match pattern"),
        ("sources: {_a: {path: x}}", "'_a': string should match pattern"),
        ("sources: {'a b': {path: x}}", "'a b': string should match pattern"),
        ('sources: {"a\\n": {path: x}}', r"'a\n': string should match pattern"),
        ("sources: {é: {path: x}}", "'é': string should match pattern"),
        ("sources: {'': {path: x}}", "'': string should match pattern"),
        (f"sources: {{{'a' * 101}: {{path: x}}}}", "string should have at most 100 characters"),
        ('sources: {a: {path: "x\\0y"}}', "sources.a.path: 'x\\x00y': holds a zero byte"),
        (f"sources: {{a: {{path: {'x/' * 2500}}}}}", "is longer than a path can be"),
        (f"sources: {{a: {{path: {'x' * 256}}}}}", "is longer than a path can be"),
        (f"sources: {{a: {{path: {'é' * 128}}}}}", "is longer than a path can be"),
        ('sources: {a: {path: "\\ud800"}}', "sources.a.path: '\\ud800': input should be a valid string"),
    ],
)
def test_a_wrong_source_is_named(text: str, named: str) -> None:
    write_params(text)
    with pytest.raises(StageError) as error:
        load_sources()
    assert named in str(error.value)
