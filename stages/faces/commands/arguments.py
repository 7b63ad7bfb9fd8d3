"""Types of command-line arguments that several commands have."""

import argparse


def positive(text: str) -> int:
    """Return a whole number of 1 or more; argparse.ArgumentTypeError if the text is none."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r}: a whole number, 1 or more")
    return int(text)


def parser(name: str, description: str | None, parents: list[argparse.ArgumentParser] = []) -> argparse.ArgumentParser:  # noqa: B006
    """Return the parser of `faces <name>`, whose help begins with the module's docstring."""
    return argparse.ArgumentParser(
        prog=f"faces {name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=parents,
    )
