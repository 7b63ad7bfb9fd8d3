"""Print FRCSyn's metrics of one or two experiments, from what they left in Git.

    faces frcsyn [<experiment> [<experiment>]]

An experiment is a name, a branch, a tag or a commit, or `workspace`, which is the default: what lies in metrics/ now.
Of two, the first should be trained on real faces and the second on synthetic ones.

Accuracy is that at the training threshold, on every external test set that the experiment's params.yaml lists, or on
`test_unseen` where it lists none. AVG is its mean over the test sets that all experiments have; GAP is (real -
synthetic) / synthetic: how much better real data would be. Where a test set has groups, their mean, standard deviation
and trade-off follow. (Melzi et al. 2024, "FRCSyn Challenge at WACV 2024", arXiv:2311.10476; DeAndres-Tame et al. 2024,
"Second Edition FRCSyn Challenge at CVPR 2024", arXiv:2404.10378.)
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from faces.commands.arguments import parser
from faces.core.errors import StageError
from faces.core.params import PARAMS_FILE, parse_params
from faces.reporting.experiments import WORKSPACE, read_file_at, read_json_at, resolve_experiment

OWN, SCORES = "metrics/evaluate.json", "metrics/score@"
GROUP_METRICS = ("group_accuracy_mean", "group_accuracy_std", "trade_off")


def read_test_set_metrics(experiment: str) -> dict[str, dict[str, Any]]:
    """Return the metrics of every external test set in params.yaml, by name, or, if there is none, of `test_unseen`.

    StageError if they are not there. Metrics of test sets that are no longer listed may be there too, and do not count.
    """
    commit = WORKSPACE if experiment == WORKSPACE else resolve_experiment(experiment)
    params = parse_params(read_file_at(commit, str(PARAMS_FILE)).encode(), f"{experiment}: {PARAMS_FILE}")
    if isinstance(test_sets := params.get("test_sets"), dict) and test_sets:
        return {str(name): read_json_at(commit, f"{SCORES}{name}.json") for name in test_sets}
    headline = read_json_at(commit, OWN)
    if "accuracy_test_unseen" not in headline:
        raise StageError(f"{experiment}: has neither external test sets nor `accuracy_test_unseen`")
    return {"test_unseen": {"accuracy": headline["accuracy_test_unseen"]}}


def accuracy_table(by_experiment: dict[str, dict[str, dict[str, Any]]]) -> pd.DataFrame:
    """Return a row a test set and their average, AVG, and a column an experiment; of two, GAP too.

    Only test sets that all experiments have are compared. GAP is (first - second) / second.
    """
    columns = {
        name: {test_set: metrics["accuracy"] for test_set, metrics in test_sets_metrics.items()}
        for name, test_sets_metrics in by_experiment.items()
    }
    table = pd.DataFrame(columns).dropna()
    if table.empty:
        raise StageError(f"{' and '.join(by_experiment)}: have no test set in common")
    table.loc["AVG"] = table.mean()
    if table.shape[1] == 2:
        table["GAP"] = (table.iloc[:, 0] - table.iloc[:, 1]) / table.iloc[:, 1]
    return table


def main(arguments: Sequence[str]) -> int:
    """Print the metrics."""
    known = parser("frcsyn", __doc__)
    known.add_argument("experiments", nargs="*", metavar="experiment", help=f"one or two; {WORKSPACE} by default")
    names = known.parse_args(arguments).experiments or [WORKSPACE]
    if len(set(names)) < len(names) or len(names) > 2:
        known.error("one experiment or two different ones are compared")
    by_experiment = {name: read_test_set_metrics(name) for name in names}
    print(accuracy_table(by_experiment).to_string(float_format="{:.4f}".format))
    for experiment, test_sets_metrics in by_experiment.items():
        for test_set, metrics in test_sets_metrics.items():
            if "trade_off" in metrics:
                mean, deviation, trade_off = (metrics[name] for name in GROUP_METRICS)
                print(f"{experiment}, groups of {test_set}: {mean:.4f} - {deviation:.4f} = {trade_off:.4f}")
    return 0
