"""Print FRCSyn's figures of one or two experiments, from what they left in Git.

    faces frcsyn [<experiment> [<experiment>]]
    faces frcsyn submit --baseline <experiment> --proposed <experiment> --sub-task 2.3 --real <source>

An experiment is a name, a branch, a tag or a commit, or `workspace`, which is the default: what lies in metrics/ now.
Of two, the first should be trained on real faces and the second on synthetic ones.

The figures are those of every external test set that the experiment's params.yaml lists, or of `test_unseen` where it
lists none. Accuracy is that at the threshold chosen on other people. Where a test set has groups, their figures follow,
and mean, standard deviation and trade-off of their accuracies: AVG, SD and TO = AVG - SD, with the number of groups
that have enough comparisons. The rows `AVG` are means over the test sets that all experiments have. GAP is
(real - synthetic) / synthetic: how much better real data would be. It is not defined where synthetic is 0.
(Melzi et al. 2024, "FRCSyn Challenge at WACV 2024", arXiv:2311.10476; DeAndres-Tame et al. 2024, "Second Edition FRCSyn
Challenge at CVPR 2024", arXiv:2404.10378.)

`faces frcsyn submit` writes a submission, see its --help.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from faces.commands import frcsyn_rules, frcsyn_submission
from faces.commands.arguments import parser
from faces.commands.frcsyn_rules import BASELINE, PROPOSED, SUB_TASKS
from faces.commands.frcsyn_submission import make_submission, open_experiment
from faces.core.errors import StageError
from faces.reporting.experiments import WORKSPACE, read_json_at

OWN, SCORES, UNSEEN = "metrics/evaluate.json", "metrics/score@", "test_unseen"
FIGURES = {"accuracy": "accuracy", "auc": "AUC", "fnmr_at_fmr_0.01": "FNMR at FMR 1 %"}
GROUPS = {"group_accuracy_mean": "AVG", "group_accuracy_std": "SD", "trade_off": "TO"}
GROUPS_OF_CHALLENGE = 8  # four races, two genders
AVERAGE = "AVG"
FAILED = "failed_comparisons"
SUBMISSION = Path("submission")


def read_test_set_metrics(experiment: str) -> dict[str, dict[str, Any]]:
    """Return the metrics of every external test set in params.yaml, by name, or, if there is none, of `test_unseen`.

    StageError if they are not there. Metrics of test sets that are no longer listed may be there too, and do not count.
    """
    opened = open_experiment(experiment)
    if opened.test_sets:
        return {name: read_json_at(opened.commit, f"{SCORES}{name}.json") for name in opened.test_sets}
    headline = read_json_at(opened.commit, OWN)
    if f"accuracy_{UNSEEN}" not in headline:
        raise StageError(f"{experiment}: has neither external test sets nor `accuracy_{UNSEEN}`")
    return {UNSEEN: {name: headline[f"{name}_{UNSEEN}"] for name in FIGURES if f"{name}_{UNSEEN}" in headline}}


def figures_of(metrics: dict[str, Any]) -> dict[str, float]:
    """Return FRCSyn's figures of a test set by the words for them; none if it has no labels."""
    found = {words: float(metrics[name]) for name, words in FIGURES.items() if name in metrics}
    of_groups = f"of {groups_measured(metrics)} groups"
    found |= {f"{words} {of_groups}": float(metrics[name]) for name, words in GROUPS.items() if name in metrics}
    of_group = re.compile(f"({'|'.join(map(re.escape, FIGURES))})_of_group_(.+)")
    for name, value in metrics.items():
        if match := of_group.fullmatch(name):
            found[f"{FIGURES[match[1]]} of {match[2]}"] = float(value)
    return found


def groups_measured(metrics: dict[str, Any]) -> int:
    """Return over how many groups of a test set AVG, SD and TO are: those with enough comparisons.

    The metric of this name says the same, but older experiments do not have it.
    """
    return sum(name.startswith("accuracy_of_group_") for name in metrics)


def figures_table(by_experiment: dict[str, dict[str, dict[str, Any]]]) -> pd.DataFrame:
    """Return a row for each figure of each test set, and their averages, AVG; a column an experiment; of two, GAP too.

    Only figures that all experiments have are compared. GAP is (first - second) / second, of the averages too, and NaN
    where second is 0. StageError if there are no figures.
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
        first_column, second_column = table.iloc[:, 0], table.iloc[:, 1]
        table["GAP"] = ((first_column - second_column) / second_column).where(second_column != 0)
    return table


def describe(by_experiment: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Return the table as text, and what it does not show.

    There is a line for each GAP that is not defined, for each TO that is not over eight groups as in the challenge, and
    for each test set without labels.
    """
    unlabelled = {name for sets in by_experiment.values() for name, metrics in sets.items() if not figures_of(metrics)}
    said = [f"{name}: has no labels, so no figures" for name in sorted(unlabelled)]
    for experiment, sets in by_experiment.items():
        for name, metrics in sets.items():
            if "trade_off" in metrics and (count := groups_measured(metrics)) != GROUPS_OF_CHALLENGE:
                said.append(
                    f"{name}: TO of {experiment} is over {count} groups; the challenge has {GROUPS_OF_CHALLENGE}"
                )
    if any(figures_of(metrics) for sets in by_experiment.values() for metrics in sets.values()):
        table = figures_table(by_experiment)
        rows = table.reset_index().to_string(index=False, float_format="{:.4f}".format, na_rep="not defined")
        undefined = list(table.index[table["GAP"].isna()]) if "GAP" in table else []
        second = [*by_experiment][-1]
        gaps = [f"{name}: GAP of {figure} is not defined, since {second} has 0" for name, figure in undefined]
        said = [rows, *gaps, *said]
    return "\n".join(said)


def describe_failed(by_role: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Return how many comparisons of each test set failed, for each system."""
    counts = [
        f"{role}: {', '.join(f'{name} {metrics[FAILED]}' for name, metrics in sets.items())}"
        for role, sets in by_role.items()
    ]
    return f"failed comparisons, since an image is missing or broken: {'; '.join(counts)}"


def submit(baseline: str, proposed: str, sub_task: str, real: Sequence[str], folder: Path = SUBMISSION) -> None:
    """Write a submission of two experiments; print what was written, and what it would score where labels are known."""
    said, names = make_submission(baseline, proposed, sub_task, real, folder)
    print(said)
    by_role = {}
    for role, experiment in ((BASELINE, baseline), (PROPOSED, proposed)):
        scored = read_test_set_metrics(experiment)
        by_role[role] = {name: scored[name] for name in names}  # of other sets, such as LFW, AVG knows nothing
    print(describe_failed(by_role))
    print(describe(by_role))
    known = sum(bool(figures_of(metrics)) for metrics in by_role[PROPOSED].values())
    rank = "TO" if sub_task.startswith("1") else "average accuracy over the test sets"
    print(f"sub-task {sub_task} is ranked by proposed's {rank}; labels are known of {known} of {len(names)} test sets")


def submit_from_command_line(arguments: Sequence[str]) -> int:
    """Write the submission that the command line asks for."""
    known = parser("frcsyn submit", f"{frcsyn_submission.__doc__}\n{frcsyn_rules.__doc__}")
    known.add_argument("--baseline", required=True, metavar="experiment", help="trained on real images alone")
    known.add_argument("--proposed", required=True, metavar="experiment", help="trained with synthetic images")
    known.add_argument("--sub-task", required=True, choices=list(SUB_TASKS))
    known.add_argument("--real", nargs="+", default=[], metavar="source", help="sources of real images")
    known.add_argument("--to", type=Path, default=SUBMISSION, metavar="folder", help="%(default)s by default")
    options = known.parse_args(arguments)
    submit(options.baseline, options.proposed, options.sub_task, options.real, options.to)
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
