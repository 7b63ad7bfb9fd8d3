"""Run the experiments of a file, one after another, and make a table of their metrics.

    faces study experiments/<name>.yaml

After each run it writes experiments/<name>.csv, a row for each run and seed, and experiments/<name>.md, a row for each
run with mean and standard deviation over the seeds.

Each run is a `dvc exp run` on the committed params.yaml with changes, and stays as an experiment, <name>-<run>-<seed>.
Start an interrupted study again, and it continues: DVC remembers which stages it has run. (If it was killed, rather
than stopped with Ctrl-C, params.yaml is still changed: call `git checkout params.yaml` first.) The file has:

    title: what the table is about
    seeds: [0, 1, 2]                    # of train.seed
    like: other.yaml                    # another study in the same folder; its `all` applies here too
    all: {train.epochs: 15}             # parameters of every run, <section>.<key>; a whole section replaces it;
                                        # but train.seed is always that of `seeds`;
                                        # sources: [casia] takes only those of params.yaml, and so does test_sets
    runs:
      first: {augment.flip: false}      # its own parameters
      second: {after: first}            # starts from the weights that `first` left with the same seed
    rows:                               # further rows of the table, figures of a run by other names
      baseline: {run: first, figures: {AUC: "metrics/score@lfw.json pixels_auc"}}
    figures:                            # columns: a metrics file, and a key in it
      AUC: metrics/score@lfw.json auc
    gap: {figure: AUC, of: [first, second]}  # (first - second) / second, as FRCSyn has it
    submit: {baseline: first, proposed: second, sub_task: "2.3", real: [casia]}  # in the end, `faces frcsyn submit`,
                                        # of the first seed; what params.yaml tells of its rules is checked before
"""

import io
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML, YAMLError

from faces.commands.arguments import parser
from faces.commands.frcsyn import SUBMISSION, submit
from faces.commands.frcsyn_rules import SUB_TASKS, check_plan
from faces.commands.frcsyn_submission import check_target
from faces.core.errors import StageError, errors_named
from faces.core.files import require_file
from faces.core.json_files import read_json
from faces.core.params import PARAMS_FILE as PARAMS
from faces.core.params import parse_params

WEIGHTS = Path("models/backbone.weights.h5")
STARTS = Path("models/starts")
NAMED = ("sources", "test_sets")  # sections of params.yaml whose keys are the user's names

Columns = dict[str, str]  # name of a column -> "<metrics file> <key>"


class Row(BaseModel):
    """A row of the table that shows other figures of a run."""

    model_config = ConfigDict(extra="forbid")
    run: str
    figures: Columns


class Gap(BaseModel):
    """What FRCSyn calls GAP, of the means of two runs."""

    model_config = ConfigDict(extra="forbid")
    figure: str
    of: tuple[str, str]


class Submission(BaseModel):
    """The two runs of a submission to FRCSyn, see `faces frcsyn submit`."""

    model_config = ConfigDict(extra="forbid")
    baseline: str
    proposed: str
    sub_task: str
    real: list[str]


class Study(BaseModel):
    """The content of a file of experiments."""

    model_config = ConfigDict(extra="forbid")
    title: str
    seeds: list[int] = Field(min_length=1)
    like: str = ""
    all: dict[str, Any] = {}
    runs: dict[str, dict[str, Any]] = Field(min_length=1)
    rows: dict[str, Row] = {}
    figures: Columns = Field(min_length=1)
    gap: Gap | None = None
    submit: Submission | None = None

    def check_names(self) -> None:
        """Raise ValueError if the study names a run or figure that it does not have, or has one name twice."""
        if len({*self.seeds}) < len(self.seeds):
            raise ValueError(f"seeds: {self.seeds}: one comes twice")
        order = list(self.runs)
        experiments: dict[str, str] = {}
        for name in order:
            if (other := experiments.setdefault(in_file_names(name), name)) != name:
                raise ValueError(f"runs: {other!r} and {name!r}: their experiments would have one name")
        for name, changes in self.runs.items():
            if "after" in changes and changes["after"] not in order[: order.index(name)]:
                raise ValueError(f"runs.{name}.after: {changes['after']!r}: no run above it has this name")
        for name, row in self.rows.items():
            if row.run not in self.runs:
                raise ValueError(f"rows.{name}.run: {row.run!r}: no such run")
            if name in self.runs:
                raise ValueError(f"rows.{name}: a run has this name")
            if unknown := row.figures.keys() - self.figures.keys():
                raise ValueError(f"rows.{name}.figures: {min(unknown)!r}: `figures` has no such column")
        for key, columns in [("", self.figures), *((f"rows.{name}.", row.figures) for name, row in self.rows.items())]:
            for column, place in columns.items():
                if len(place.split()) != 2:
                    raise ValueError(f"{key}figures.{column}: {place!r}: expected <metrics file> <key>")
        if self.gap and (self.gap.figure not in self.figures or not {*self.gap.of} <= {*self.runs}):
            raise ValueError("gap: names a run or a figure that the study does not have")
        if self.submit and not {self.submit.baseline, self.submit.proposed} <= {*self.runs}:
            raise ValueError("submit: names a run that the study does not have")
        if self.submit and self.submit.sub_task not in SUB_TASKS:
            raise ValueError(f"submit.sub_task: {self.submit.sub_task!r}: one of {', '.join(SUB_TASKS)}, in quotes")


def load_study(path: Path, asked_by: Sequence[Path] = ()) -> Study:
    """Return the study of a file; StageError names the wrong key. Its `all` has that of `like`, too.

    `asked_by` are the files that led here by `like`.
    """
    require_file(path)
    if path.resolve() in asked_by:
        raise StageError(f"{path}: like: leads back to this file")
    try:
        study = Study.model_validate(YAML(typ="safe").load(path.read_text(encoding="utf-8")))
        study.check_names()
        if study.like:
            study.all = load_study(path.parent / study.like, [*asked_by, path.resolve()]).all | study.all
    except ValidationError as error:
        raise StageError(
            "\n".join(f"{path}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        ) from None
    except (OSError, ValueError, YAMLError) as error:
        raise StageError(f"{path}: {error}") from None
    return study


def changed_params(text: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Return params.yaml with changes and with its comments; KeyError names a parameter that does not exist."""
    content = YAML().load(text)
    for name, value in changes.items():
        section, _, key = name.partition(".")
        if section not in content or (key and section not in NAMED and key not in content[section]):
            raise KeyError(name)
        if key:
            content[section][key] = value
        elif section in NAMED and isinstance(value, list):
            if unknown := [entry for entry in value if entry not in content[section]]:
                raise KeyError(f"{section}.{unknown[0]}")
            content[section] = {entry: content[section][entry] for entry in value}
        else:
            content[section] = value
    return content


def expand_runs(study: Study) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Yield name, seed and changes of every run, seed by seed, so that early rows are comparable."""
    for seed in study.seeds:
        for name, own in study.runs.items():
            changes = study.all | {key: own[key] for key in own if key != "after"}
            changes = {key: changes[key] for key in changes if key != "train.seed"} | {"train.seed": seed}
            if "after" in own:
                changes["train.initial_weights"] = start_path(own["after"], seed).as_posix()
            yield name, seed, changes


def in_file_names(run: str) -> str:
    """Return the name of a run as it is in names of files and experiments: without spaces."""
    return run.replace(" ", "-")


def start_path(run: str, seed: int) -> Path:
    """Return where the weights of a run are kept for another to start from."""
    return STARTS / f"{in_file_names(run)}-{seed}.weights.h5"


def experiment_name(path: Path, run: str, seed: int) -> str:
    """Return the name of the experiment of a run of the study in a file."""
    return f"{path.stem}-{in_file_names(run)}-{seed}"


def run_experiment(name: str, content: dict[str, Any], *options: str) -> None:
    """Run the pipeline on these parameters by `dvc exp run` with more `options`; restore params.yaml afterwards."""
    try:
        with open(PARAMS, "w", encoding="utf-8") as file:
            YAML().dump(content, file)
        if name in listed_experiments():
            subprocess.run(["dvc", "exp", "remove", name], check=True)
        subprocess.run(["dvc", "exp", "run", "--name", name, *options], check=True)
    finally:
        subprocess.run(["git", "checkout", "--quiet", "--", str(PARAMS)], check=True)


def listed_experiments() -> list[str]:
    """Return the names of the experiments on the current commit."""
    listed = subprocess.run(["dvc", "exp", "list", "--name-only"], check=True, capture_output=True, text=True)
    return listed.stdout.split()


def read_metrics(figures: Columns, params: dict[str, Any]) -> dict[str, float]:
    """Return metrics by the names of their columns.

    A metric that its file does not have is left out. So is one of a source or test set that `params` do not list: its
    file would be from an earlier run.
    """
    found, listed = {}, {*params["sources"], *params["test_sets"]}
    for column, place in figures.items():
        path, key = place.split()
        _, at, name = Path(path).stem.partition("@")
        if at and name not in listed:
            continue
        metrics = read_json(Path(path))
        if key in metrics:
            found[column] = metrics[key]
    return found


def summary(study: Study, results: pd.DataFrame) -> str:
    """Return the table of the study in Markdown: means, and standard deviations where there are several seeds."""
    rows = []
    for run, group in results.groupby("run", sort=False):
        cells = [f"{run} ({len(group)} seeds)" if len(group) != len(study.seeds) else str(run)]
        for column in study.figures:
            values = group[column].dropna() if column in group else pd.Series(dtype=float)
            spread = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.3f}{spread}" if len(values) else "")
        rows.append(f"| {' | '.join(cells)} |")
    header = [f"| {' | '.join(['', *study.figures])} |", "|---" * (len(study.figures) + 1) + "|"]
    said = [f"{study.title} Mean ± standard deviation over {len(study.seeds)} seeds.", "", *header, *rows, ""]
    if study.gap and study.gap.figure in results:
        means = results.groupby("run")[study.gap.figure].mean().dropna()
        if {*study.gap.of} <= {*means.index}:
            first, second = (float(means[run]) for run in study.gap.of)
            gap = f"GAP of {' and '.join(study.gap.of)} in {study.gap.figure}"
            undefined = f"{gap}: not defined, since {study.gap.figure} of {study.gap.of[1]} is 0"
            said += [f"{gap}: {(first - second) / second:.3f}" if second else undefined, ""]
    return "\n".join(said)


@contextmanager
def failures_named() -> Iterator[None]:
    """Raise StageError if a command that was run fails; it has already printed why."""
    try:
        yield
    except subprocess.CalledProcessError as error:
        raise StageError(f"{' '.join(map(str, error.cmd))} failed; its message stands above") from None
    except FileNotFoundError as error:
        if error.filename != "dvc":
            raise
        raise StageError("there is no program `dvc`; activate the environment: `. .venv/bin/activate`") from None


def check_clean() -> None:
    """Raise StageError if params.yaml has changes that are not committed: they would be lost."""
    if subprocess.run(["git", "diff", "--quiet", "HEAD", "--", str(PARAMS)]).returncode:
        raise StageError(f"{PARAMS} has changes that are not committed: commit them, or `git checkout {PARAMS}`")


def check_submit(of: Submission, path: Path, contents: Mapping[str, Any]) -> None:
    """Raise StageError if two runs cannot end in their submission; `contents` has the params.yaml of each run."""
    planned = {}
    for run in (of.baseline, of.proposed):
        text = io.StringIO()
        YAML().dump(contents[run], text)
        planned[run] = parse_params(text.getvalue().encode(), f"{run}: {PARAMS}")
    with errors_named(str(path)):
        both = (of.baseline, planned[of.baseline]), (of.proposed, planned[of.proposed])
        check_plan(*both, of.sub_task, of.real)
        check_target(SUBMISSION)


def run_study(study: Study, path: Path) -> None:
    """Run everything and write the tables after each run."""
    committed = PARAMS.read_text(encoding="utf-8")
    kept = {own["after"] for own in study.runs.values() if "after" in own}
    try:
        contents = [(name, seed, changed_params(committed, changes)) for name, seed, changes in expand_runs(study)]
    except KeyError as error:
        raise StageError(f"{path}: {error.args[0]}: {PARAMS} has no such parameter") from None
    if study.submit:
        check_submit(study.submit, path, {name: content for name, seed, content in contents if seed == study.seeds[0]})
    rows: list[dict[str, Any]] = []
    for name, seed, content in contents:
        run_experiment(experiment_name(path, name, seed), content)
        if name in kept:
            STARTS.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(WEIGHTS, start_path(name, seed))
        shown = {name: study.figures} | {row: spec.figures for row, spec in study.rows.items() if spec.run == name}
        rows += [{"run": row, "seed": seed, **read_metrics(figures, content)} for row, figures in shown.items()]
        results = pd.DataFrame(rows)
        results.to_csv(path.with_suffix(".csv"), index=False)
        path.with_suffix(".md").write_text(summary(study, results), encoding="utf-8")
    print(path.with_suffix(".md").read_text(encoding="utf-8"))
    if of := study.submit:
        baseline, proposed = (experiment_name(path, run, study.seeds[0]) for run in (of.baseline, of.proposed))
        submit(baseline, proposed, of.sub_task, of.real)


def main(arguments: Sequence[str]) -> int:
    """Run the study that the command line names."""
    known = parser("study", __doc__)
    known.add_argument("study", type=Path, help="a file of experiments")
    path = known.parse_args(arguments).study
    study = load_study(path)
    check_clean()
    with failures_named():
        run_study(study, path)
    return 0
