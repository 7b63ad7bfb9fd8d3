"""Command-line arguments that several commands share."""

import argparse


def positive(text: str) -> int:
    """Return a whole number of 1 or more; argparse.ArgumentTypeError if the text is none."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r}: a whole number, 1 or more")
    return int(text)


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return the parser of `faces <name>`; its help begins with the description, the docstring of the module."""
    return argparse.ArgumentParser(
        prog=f"faces {name}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
