"""Print FRCSyn's figures of one or two experiments, from what they left in Git.

    faces frcsyn [<experiment> [<experiment>]]
    faces frcsyn submit --baseline <experiment> --proposed <experiment> --sub-task 2.3 --real <source>

An experiment is a name, a branch, a tag or a commit, or `workspace`, which is the default: what lies in metrics/ now.
Of two, the first should be trained on real faces and the second on synthetic ones.

The figures are those of every external test set that the experiment's params.yaml lists, or of `test_unseen` where it
lists none. Accuracy is that at the threshold chosen on other people. Where a test set has groups, their figures follow,
and mean, standard deviation and trade-off of their accuracies: AVG, SD and TO = AVG - SD. The rows `AVG` are means over
the test sets that all experiments have. GAP is (real - synthetic) / synthetic: how much better real data would be.
(Melzi et al. 2024, "FRCSyn Challenge at WACV 2024", arXiv:2311.10476; DeAndres-Tame et al. 2024, "Second Edition FRCSyn
Challenge at CVPR 2024", arXiv:2404.10378.)

`faces frcsyn submit` writes a submission, see its --help.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from faces.commands import frcsyn_submission
from faces.commands.arguments import parser
from faces.commands.frcsyn_submission import BASELINE, PROPOSED, SUB_TASKS, make_submission
from faces.core.errors import StageError
from faces.reporting.experiments import WORKSPACE, read_json_at, read_params_at, resolve_experiment

OWN, SCORES, UNSEEN = "metrics/evaluate.json", "metrics/score@", "test_unseen"
FIGURES = {"accuracy": "accuracy", "auc": "AUC", "fnmr_at_fmr_0.01": "FNMR at FMR 1 %"}
GROUPS = {"group_accuracy_mean": "AVG of groups", "group_accuracy_std": "SD of groups", "trade_off": "TO"}
AVERAGE = "AVG"
SUBMISSION = Path("submission")


def read_test_set_metrics(experiment: str) -> dict[str, dict[str, Any]]:
    """Return the metrics of every external test set in params.yaml, by name, or, if there is none, of `test_unseen`.

    StageError if they are not there. Metrics of test sets that are no longer listed may be there too, and do not count.
    """
    commit = WORKSPACE if experiment == WORKSPACE else resolve_experiment(experiment)
    params = read_params_at(commit, experiment)
    if isinstance(test_sets := params.get("test_sets"), dict) and test_sets:
        return {str(name): read_json_at(commit, f"{SCORES}{name}.json") for name in test_sets}
    headline = read_json_at(commit, OWN)
    if f"accuracy_{UNSEEN}" not in headline:
        raise StageError(f"{experiment}: has neither external test sets nor `accuracy_{UNSEEN}`")
    return {UNSEEN: {name: headline[f"{name}_{UNSEEN}"] for name in FIGURES if f"{name}_{UNSEEN}" in headline}}


def figures_of(metrics: dict[str, Any]) -> dict[str, float]:
    """Return FRCSyn's figures of a test set by the words for them; none if it has no labels."""
    found = {words: float(metrics[name]) for name, words in (FIGURES | GROUPS).items() if name in metrics}
    of_group = re.compile(f"({'|'.join(map(re.escape, FIGURES))})_of_group_(.+)")
    for name, value in metrics.items():
        if match := of_group.fullmatch(name):
            found[f"{FIGURES[match[1]]} of {match[2]}"] = float(value)
    return found


def figures_table(by_experiment: dict[str, dict[str, dict[str, Any]]]) -> pd.DataFrame:
    """Return a row for each figure of each test set, and their averages, AVG; a column an experiment; of two, GAP too.

    Only figures that all experiments have are compared. GAP is (first - second) / second, of the averages too.
    StageError if there are none.
    """
    columns = {
        experiment: {
            (test_set, figure): value
            for test_set, metrics in test_sets_metrics.items()
            for figure, value in figures_of(metrics).items()
        }
        for experiment, test_sets_metrics in by_experiment.items()
    }
    first, *others = columns.values()
    common = [row for row in first if all(row in other for other in others)]
    if not common:
        raise StageError(f"{' and '.join(by_experiment)}: have no figure of a test set in common")
    rows = pd.MultiIndex.from_tuples(common, names=["set", "figure"])
    table = pd.DataFrame({name: [column[row] for row in common] for name, column in columns.items()}, index=rows)
    for figure in FIGURES.values():
        own = table[table.index.get_level_values("figure") == figure]
        if len(own):
            table.loc[(AVERAGE, figure), :] = own.mean()
    if table.shape[1] == 2:
        table["GAP"] = (table.iloc[:, 0] - table.iloc[:, 1]) / table.iloc[:, 1]
    return table


def describe(by_experiment: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Return the table as text, and a line for each test set that has no labels."""
    unlabelled = {name for sets in by_experiment.values() for name, metrics in sets.items() if not figures_of(metrics)}
    said = [f"{name}: has no labels, so no figures" for name in sorted(unlabelled)]
    if any(figures_of(metrics) for sets in by_experiment.values() for metrics in sets.values()):
        table = figures_table(by_experiment)
        rows = table.reset_index().to_string(index=False, float_format="{:.4f}".format, na_rep="")
        said.insert(0, rows)
    return "\n".join(said)


def submit(
    baseline: str,
    proposed: str,
    sub_task: str,
    real: Sequence[str],
    only: Sequence[str] = (),
    folder: Path = SUBMISSION,
) -> None:
    """Write a submission of two experiments; print what was written, and what it would score where labels are known.

    `only` names its test sets; without, it has all of format frcsyn.
    """
    said, names = make_submission(baseline, proposed, sub_task, real, folder, only)
    print(said)
    by_role = {}
    for role, experiment in ((BASELINE, baseline), (PROPOSED, proposed)):
        scored = read_test_set_metrics(experiment)
        by_role[role] = {name: scored[name] for name in names}  # of other sets, such as LFW, AVG knows nothing
    print(describe(by_role))
    known = sum(bool(figures_of(metrics)) for metrics in by_role[PROPOSED].values())
    rank = "TO" if sub_task.startswith("1") else "average accuracy over the test sets"
    print(f"sub-task {sub_task} is ranked by proposed's {rank}; labels are known of {known} of {len(names)} test sets")


def submit_from_command_line(arguments: Sequence[str]) -> int:
    """Write the submission that the command line asks for."""
    known = parser("frcsyn submit", frcsyn_submission.__doc__)
    known.add_argument("--baseline", required=True, metavar="experiment", help="trained on real images alone")
    known.add_argument("--proposed", required=True, metavar="experiment", help="trained with synthetic images")
    known.add_argument("--sub-task", required=True, choices=list(SUB_TASKS))
    known.add_argument("--real", nargs="+", default=[], metavar="source", help="sources of real images")
    known.add_argument(
        "--sets", nargs="+", default=[], metavar="set", help="test sets; all of format frcsyn by default"
    )
    known.add_argument("--to", type=Path, default=SUBMISSION, metavar="folder", help="%(default)s by default")
    options = known.parse_args(arguments)
    submit(options.baseline, options.proposed, options.sub_task, options.real, options.sets, options.to)
    return 0


def main(arguments: Sequence[str]) -> int:
    """Print the figures, or write a submission."""
    if arguments[:1] == ["submit"]:
        return submit_from_command_line(arguments[1:])
    known = parser("frcsyn", __doc__)
    known.add_argument("experiments", nargs="*", metavar="experiment", help=f"one or two; {WORKSPACE} by default")
    names = known.parse_args(arguments).experiments or [WORKSPACE]
    if len(set(names)) < len(names) or len(names) > 2:
        known.error("one experiment or two different ones are compared")
    print(describe({name: read_test_set_metrics(name) for name in names}))
    return 0
