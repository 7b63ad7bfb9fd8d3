"""Is one experiment better than another? Every headline figure of both, and what these data say of the difference.

    faces compare <experiment> <experiment> [--format text|csv|latex]

An experiment is a name, a branch, a tag or a commit, or `workspace`: what lies there now. Of a run of a study with
several seeds, leave the seed out of the name. The difference is the second minus the first, on the pairs of images that
both have scored, and its 95 % interval comes from drawing people, and seeds if there are several. The second is better
or worse if the interval does not contain 0; otherwise these data do not tell them apart.
"""

import sys
from collections.abc import Sequence

from faces.commands.arguments import parser, positive
from faces.reporting.comparison import as_csv, as_latex, as_text, compare_experiments


def main(arguments: Sequence[str]) -> int:
    """Print the table."""
    known = parser("compare", __doc__)
    known.add_argument("first", metavar="experiment")
    known.add_argument("second", metavar="experiment")
    known.add_argument("--format", choices=("text", "csv", "latex"), default="text", help="%(default)s by default")
    known.add_argument("--draws", type=positive, default=1000, help="bootstrap replicates (%(default)s)")
    options = known.parse_args(arguments)
    comparison = compare_experiments(options.first, options.second, options.draws, seed=0)
    if options.format == "csv":
        text = as_csv(comparison)
    else:
        text = (as_latex if options.format == "latex" else as_text)(comparison, options.first, options.second)
    sys.stdout.write(text)
    return 0
