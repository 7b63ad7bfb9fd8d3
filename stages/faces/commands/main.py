"""The command `faces`: verification, checks, reports and experiments, everything that is not a stage.

Each command is a module of this package with a function `main(arguments) -> exit code`. It is imported only when it is
asked for, so that `faces --help` answers at once.
"""

import difflib
import io
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

COMMANDS = {
    "verify": "are two images of one person?",
    "enrol": "make a gallery of a folder of people",
    "identify": "who of a gallery is on an image?",
    "check": "look for errors in params.yaml, sources and test sets",
    "report": "write report.html, one page to send to a colleague",
    "compare": "is one experiment better than another?",
    "frcsyn": "compare experiments as the FRCSyn challenge does",
    "study": "run a file of experiments and make a table of them",
    "job": "run one experiment as a job of a cluster",
    "divide": "divide a folder of people into some to train on and others to test on",
}
ANSWERING = ("verify", "enrol", "identify")  # their exit codes 0 and 1 are answers, so that all else must have another
WRONG_USAGE = NO_ANSWER = 2


def usage() -> str:
    """Return the help text."""
    lines = [f"  {name:10}{text}" for name, text in COMMANDS.items()]
    return "\n".join(["usage: faces <command> [options]", "", *lines, "", "`faces <command> --help` says more."])


def dispatch(arguments: Sequence[str]) -> int:
    """Run the command that the first argument names, with the other arguments; return its exit code."""
    name, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if name in COMMANDS:
        import_module("faces.core.portable")  # before NumPy and others, which read its settings
        try:
            code: int = import_module(f"faces.commands.{name}").main(rest)
            return code
        except Exception as error:
            if name not in ANSWERING:
                raise
            print(f"faces {name}: {type(error).__name__}: {error}", file=sys.stderr)
            return NO_ANSWER
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if name:
        nearest = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        print(f"faces: {name!r} is not a command{hint}", file=sys.stderr)
    print(usage(), file=sys.stderr)
    return WRONG_USAGE


def main() -> NoReturn:
    """Run the command line and exit: with the command's code, 1 after `error:` lines, 130 on Ctrl-C."""
    if not {*sys.argv[1:2]} & {*COMMANDS}:  # help, which needs none of the imports below
        sys.exit(dispatch(sys.argv[1:]))
    from faces.core.run import run_and_exit

    if not {*sys.argv[1:2]} & {*ANSWERING}:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end without a traceback when `| head` has read enough
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal cannot show is no reason to end
            stream.reconfigure(errors="backslashreplace")
    run_and_exit(lambda: sys.exit(dispatch(sys.argv[1:])), exclusive=lambda: False)


if __name__ == "__main__":
    main()
