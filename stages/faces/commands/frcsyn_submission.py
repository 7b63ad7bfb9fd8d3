"""A submission to FRCSyn: the scores and decisions of two systems, in its files, after a check of its rules.

A submission is a folder for each test set, with baseline.txt and proposed.txt, and a zip of them. A line of such a file
is `<score>,<decision>`, as `0.41235678,1`, for the comparison that the same line of the comparison file lists. A system
has one threshold for all test sets: the decision is 1 if the score is at or above it.
"""

import io
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from faces.commands.frcsyn_rules import (
    BASELINE,
    PROPOSED,
    Trained,
    Used,
    broken_rules,
    check_real,
    check_sets,
    entries,
    other_networks,
    sets_of,
    warn_about_training,
)
from faces.core.errors import StageError
from faces.core.files import replacing
from faces.core.params import PARAMS_FILE
from faces.core.terminal import warn
from faces.evaluation.roc import accept
from faces.evaluation.threshold import THRESHOLD_PATH, Thresholds, parse_thresholds
from faces.external.frcsyn_files import read_comparisons
from faces.reporting.experiments import WORKSPACE, read_output_at, read_params_at, resolve_experiment
from faces.tables.external_sets import ExternalSet
from faces.tables.kept_scores import KeptScores, hash_names, read_kept, test_set_path
from faces.tables.split_table import SPLIT_PATH, TEST_SEEN, TEST_UNSEEN, TRAIN

LINE = re.compile(r"-?[01]\.\d{8},[01]\n")
ROUNDING = 1e-8  # of a score in the file
LINES_AT_ONCE = 65_536
NO_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can hold


class Experiment(NamedTuple):
    """An experiment: where Git has it, its parameters, and `test_sets` of these by name."""

    commit: str
    params: dict[str, Any]
    test_sets: dict[str, dict[str, Any]]


class System(NamedTuple):
    """A system that is trained and has scored the test sets.

    Attributes:
        trained: what it was trained on.
        sets: the test sets of the sub-task, as its params.yaml lists them.
        scores: their scores.
        thresholds: its models/threshold.json.
        networks: the files of other networks that its training used, by the key of `train:`.
    """

    trained: Trained
    sets: dict[str, ExternalSet]
    scores: dict[str, KeptScores]
    thresholds: Thresholds
    networks: dict[str, str]

    def __str__(self) -> str:
        """Return role and name, for messages."""
        return str(self.trained)


def open_experiment(name: str) -> Experiment:
    """Return an experiment, which may be a branch, a tag, a commit or the workspace.

    StageError if there is none of this name, or if its `test_sets` have another shape.
    """
    commit = WORKSPACE if name == WORKSPACE else resolve_experiment(name)
    params = read_params_at(commit, name)
    return Experiment(commit, params, entries(params, "test_sets", f"{name}: {PARAMS_FILE}"))


def load_system(role: str, name: str, sub_task: str) -> System:
    """Return a system with the test sets of a sub-task.

    StageError names a test set that it does not have, or a file that no cache has.
    """
    experiment, where = open_experiment(name), f"{name}: {PARAMS_FILE}"
    commit, params = experiment.commit, experiment.params
    sets = sets_of(experiment.test_sets, sub_task, f"{where}: test_sets")
    scores = {
        set_name: read_kept(read_output_at(commit, path := test_set_path(set_name)), f"{name}: {path}")
        for set_name in sets
    }
    thresholds = parse_thresholds(read_output_at(commit, THRESHOLD_PATH), f"{name}: {THRESHOLD_PATH}")
    used = images_used(read_output_at(commit, SPLIT_PATH))
    trained = Trained(role, name, entries(params, "sources", where), used)
    return System(trained, sets, scores, thresholds, other_networks(params, where))


def images_used(split: bytes) -> dict[str, Used]:
    """Return how many images of each source a system has seen by its data/split.csv: trained on, or chosen by."""
    columns = {"source": str, "label": np.int64, "part": str}
    table = pd.read_csv(io.BytesIO(split), usecols=list(columns), dtype=columns, keep_default_na=False)
    seen = table[~table["part"].isin([TEST_SEEN, TEST_UNSEEN])]
    return {
        str(source): Used(len(rows), rows["label"].nunique()) for source, rows in seen.groupby("source", sort=False)
    }


def check_systems(baseline: System, proposed: System, sub_task: str) -> None:
    """Raise StageError unless both systems scored the same lists, whole and in order, each with one threshold.

    Warn of what the rules may not allow and no count shows.
    """
    check_sets([baseline.trained, proposed.trained], [baseline.sets, proposed.sets], sub_task)
    for name, entry in baseline.sets.items():
        comparisons = read_comparisons(Path(entry.pairs))
        images = hash_names(comparisons.paths)
        for system in (baseline, proposed):
            check_order(system, name, entry.pairs, [images[comparisons.a], images[comparisons.b]])
    for system in (baseline, proposed):
        for name, kept in system.scores.items():
            if kept.threshold != system.thresholds.threshold:
                raise StageError(
                    f"{system}: the threshold of {name} is {kept.threshold:.6f}, that of {THRESHOLD_PATH} "
                    f"{system.thresholds.threshold:.6f}: run `dvc repro` there"
                )
        warn_about_training(system.trained, system.thresholds.chosen_on == TRAIN, system.networks)
    if any(baseline.scores[name].embeddings == proposed.scores[name].embeddings for name in baseline.sets):
        warn(f"{baseline} and {proposed} have the same embeddings: they are one system")


def check_order(system: System, name: str, path: str, images: list[NDArray[np.uint64]]) -> None:
    """Raise StageError unless a system's scores are of the comparisons of a file, in its order.

    `images` has the hashes of the names of the first and of the second image of each comparison, (n,).
    """
    kept = system.scores[name].sets[name].every
    if len(kept.scores) != len(images[0]):
        raise StageError(
            f"{system}: {len(kept.scores):,} scores of {name}, but {path} has {len(images[0]):,} comparisons; "
            "`score.drop_leaked` should be false"
        )
    wrong = (kept.images[kept.a] != images[0]) | (kept.images[kept.b] != images[1])
    if wrong.any():
        raise StageError(f"{system}: {name}: score {wrong.argmax() + 1} is of other images than that line of {path}")


# The files


def score_lines(scores: NDArray[np.floating], threshold: float) -> Iterator[str]:
    """Yield the lines of a submission's file, many at a time: score with eight decimals, and 1 if it is accepted."""
    for start in range(0, len(scores), LINES_AT_ONCE):
        block = scores[start : start + LINES_AT_ONCE]
        decisions = accept(block, threshold).astype(int)
        pairs = zip(block.tolist(), decisions.tolist(), strict=True)
        yield "".join(f"{score:.8f},{decision}\n" for score, decision in pairs)


def archive_of(folder: Path) -> Path:
    """Return the zip of a submission, beside its folder."""
    return folder.with_name(f"{folder.name}.zip")


def check_target(folder: Path) -> None:
    """Raise StageError unless a submission can be written into a folder: there is none, or an earlier submission."""
    if folder.name in ("", ".."):
        raise StageError(f"{folder}: expected a folder of the submission's own, such as submission")
    for path in (folder, *folder.parents):
        if path.is_file() or path.is_symlink() and path == folder:
            raise StageError(f"{path}: is not a folder; name another folder for the submission")
    if archive_of(folder).is_dir():
        raise StageError(f"{archive_of(folder)}: is a folder, where the zip of the submission belongs")
    held = {folder: [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if not path.is_dir()]}
    if (archive := archive_of(folder)).exists():
        try:
            with ZipFile(archive) as file:
                held[archive] = file.namelist()
        except (BadZipFile, OSError):
            raise StageError(f"{archive}: is no zip of a submission; name another folder") from None
    names = {f"{role}.txt" for role in (BASELINE, PROPOSED)}
    for place, files in held.items():
        if strange := [name for name in files if not name.endswith("/") and Path(name).name not in names]:
            raise StageError(f"{place}: holds {strange[0]}, which is of no submission; name another folder")


def write_submission(systems: Sequence[System], folder: Path) -> Path:
    """Write a submission into a folder, and into a zip beside it; check it, and return the zip.

    The same scores give the same bytes. An earlier submission is replaced when the new one is whole and checked.
    """
    check_target(folder)
    counts = {name: len(kept.sets[name].every.scores) for name, kept in systems[0].scores.items()}
    archive, unfinished = archive_of(folder), folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
    try:
        with replacing(archive) as temporary:
            write_files(systems, unfinished, temporary)
            check_submission(temporary, counts, archive)
            if folder.exists():
                shutil.rmtree(folder)
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return archive


def write_files(systems: Sequence[System], folder: Path, archive: Path) -> None:
    """Write the files of a submission into a new folder, and into a zip."""
    with ZipFile(archive, "w", ZIP_DEFLATED) as file:
        for name in systems[0].sets:
            (folder / name).mkdir(parents=True)
            for system in systems:
                path = folder / name / f"{system.trained.role}.txt"
                scores = system.scores[name].sets[name].every.scores
                with open(path, "w", encoding="ascii", newline="\n") as text:
                    text.writelines(score_lines(scores, system.thresholds.threshold))
                member = ZipInfo(f"{name}/{path.name}", NO_DATE)
                member.compress_type, member.external_attr = ZIP_DEFLATED, 0o644 << 16
                member.file_size = path.stat().st_size  # by which zipfile chooses the format of the member
                with open(path, "rb") as source, file.open(member, "w") as target:
                    shutil.copyfileobj(source, target)


def check_submission(archive: Path, counts: Mapping[str, int], called: Path | None = None) -> None:
    """Raise StageError unless a zip is a whole submission of test sets with so many comparisons.

    Every file is there and no other, with a line for each comparison, and one threshold of a system separates what it
    accepts from what it does not, over all test sets. Messages call the zip `called`, or else by its own path.
    """
    called = called or archive
    with ZipFile(archive) as file:
        wanted = {f"{name}/{role}.txt" for name in counts for role in (BASELINE, PROPOSED)}
        if wrong := wanted ^ {*file.namelist()}:
            raise StageError(f"{called}: {min(wrong)}: {'is missing' if min(wrong) in wanted else 'is of no test set'}")
        for role in (BASELINE, PROPOSED):
            accepted, rejected = np.inf, -np.inf  # the lowest score of the one, the highest of the other
            for name, count in counts.items():
                where, number = f"{called}: {name}/{role}.txt", 0
                with file.open(f"{name}/{role}.txt") as member:
                    for number, line in enumerate(io.TextIOWrapper(member, "ascii", newline=""), start=1):
                        if not LINE.fullmatch(line):
                            raise StageError(f"{where}: line {number}: {line[:100]!r}; expected such as '0.41235678,1'")
                        score = float(line[:-3])
                        if line[-2] == "1":
                            accepted = min(accepted, score)
                        else:
                            rejected = max(rejected, score)
                if number != count:
                    raise StageError(f"{where}: has {number:,} lines; expected {count:,}")
                if rejected > accepted + ROUNDING:
                    raise StageError(
                        f"{where}: a score of {rejected:.8f} is rejected and one of {accepted:.8f} accepted: no one "
                        "threshold does that"
                    )


def make_submission(
    baseline: str, proposed: str, sub_task: str, real: Sequence[str], folder: Path
) -> tuple[str, list[str]]:
    """Write a submission of two experiments, check it, and return a sentence on it and the names of its test sets.

    StageError, with nothing written, names each rule that is broken.
    """
    check_target(folder)
    systems = load_system(BASELINE, baseline, sub_task), load_system(PROPOSED, proposed, sub_task)
    check_real([system.trained for system in systems], real)
    check_systems(*systems, sub_task)
    if broken := broken_rules(systems[0].trained, systems[1].trained, sub_task, real):
        raise StageError("\n".join(broken))
    archive = write_submission(systems, folder)
    comma = ", ".join
    trained = "; ".join(
        f"{system}: {comma(f'{count.images:,} images of {source}' for source, count in system.trained.used.items())}, "
        f"threshold {system.thresholds.threshold:.6f} chosen on {system.thresholds.chosen_on}"
        for system in systems
    )
    sizes = ", ".join(f"{name} {len(kept.sets[name].every.scores):,}" for name, kept in systems[0].scores.items())
    return f"{archive} and {folder}/: sub-task {sub_task}, {sizes} comparisons\n{trained}", [*systems[0].sets]
