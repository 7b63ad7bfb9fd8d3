"""Write report.html, one page to send to a colleague: metrics, curves, pictures, and what changed.

    faces report [--against <experiment>] [--output report.html]     (or `make report`)

It reads what `dvc repro` left: metrics/, models/threshold.json, params.yaml and the stages' pictures. The page needs no
other file and no network. `--against` names a DVC experiment, a branch, a tag or a commit. By default
the page compares with the last commit that has other metrics. The pictures show faces: consider who receives it.
"""

from collections.abc import Sequence
from pathlib import Path

from faces.commands.arguments import parser
from faces.core.files import write_text
from faces.core.terminal import say
from faces.reporting.page import page

OUTPUT = Path("report.html")


def main(arguments: Sequence[str]) -> int:
    """Write the page."""
    known = parser("report", __doc__)
    known.add_argument("--against", metavar="experiment", help="what to compare with")
    known.add_argument("--output", type=Path, default=OUTPUT, help="the page (%(default)s)")
    options = known.parse_args(arguments)
    write_text(options.output, page(options.against))
    say(f"{options.output}: {options.output.stat().st_size / 1e6:.1f} MB")
    return 0
