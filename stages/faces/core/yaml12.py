"""YAML 1.2 on top of PyYAML, which reads YAML 1.1.

DVC reads and writes params.yaml as YAML 1.2, in which 1e-4 is a number, 010 is ten and `no` is a string.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

MAX_DIGITS = 100  # Python takes quadratic time to read a longer number


class _Yaml12Loader(yaml.SafeLoader):
    """A safe loader that resolves scalars by the core schema of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}


# The core schema, https://yaml.org/spec/1.2.2/#103-core-schema
# and, of dates, what DVC's reader takes for one: https://yaml.org/type/timestamp.html
for _tag, _pattern in (
    (
        "timestamp",
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}.*",
    ),
    ("null", "null|Null|NULL|~|"),
    ("bool", "true|True|TRUE|false|False|FALSE"),
    ("int", "[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
    ("merge", "<<"),
):
    _Yaml12Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^({_pattern})$"), None)


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    digits = loader.construct_scalar(node)
    if len(digits) > MAX_DIGITS:
        raise yaml.constructor.ConstructorError(None, None, f"a number of {len(digits)} digits", node.start_mark)
    return int(digits, 0 if digits.startswith(("0o", "0x")) else 10)


def _construct_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> Iterator[dict[Any, Any]]:
    keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    for number, key in enumerate(keys):
        if key in keys[:number]:  # PyYAML would silently take the last; DVC rejects the file
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} comes twice", node.start_mark)
    yield from loader.construct_yaml_map(node)


def _refuse_date(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> None:
    text = loader.construct_scalar(node)
    problem = f"{text!r}: YAML reads this as a date; put it in quotes"
    raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


_Yaml12Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Yaml12Loader.add_constructor("tag:yaml.org,2002:timestamp", _refuse_date)
_Yaml12Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)


def load_yaml12(text: str) -> Any:
    """Return the content of a YAML 1.2 document; yaml.YAMLError if it is invalid, repeats a key or has a date.

    DVC takes 2020-01-01 without quotes for a date, which it then cannot write.
    """
    return yaml.load(text, Loader=_Yaml12Loader)
