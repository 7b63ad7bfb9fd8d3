"""A submission to FRCSyn: the scores and decisions of two systems, in its files, after a check of its rules.

A submission is a folder for each test set, with baseline.txt and proposed.txt, and a zip of them. A line of such a file
is `<score>,<decision>`, as `0.41235678,1`, for the comparison that the same line of the comparison file lists. The
baseline is trained on real images alone, the proposed system with synthetic ones. A system has one threshold for all
test sets: the decision is 1 if the score is at or above it.

Sub-tasks 1.x are about differences between demographic groups, ranked by TO; 2.x are ranked by the average accuracy. In
x.1 and x.2 the proposed system is trained on synthetic images alone, in x.3 on CASIA-WebFace too. In x.1 and x.3 there
may be 500,000 synthetic images. (DeAndres-Tame et al. 2024, arXiv:2404.10378.)
"""

import io
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from faces.core.errors import StageError
from faces.core.files import replacing
from faces.core.params import PARAMS_FILE
from faces.core.terminal import warn
from faces.evaluation.roc import accept
from faces.evaluation.threshold import THRESHOLD_PATH, Thresholds, parse_thresholds
from faces.external.frcsyn_files import read_comparisons
from faces.reporting.experiments import WORKSPACE, read_output_at, read_params_at, resolve_experiment
from faces.tables.kept_scores import KeptScores, hash_names, read_kept, test_set_path
from faces.tables.split_table import SPLIT_PATH, TEST_SEEN, TEST_UNSEEN, TRAIN

BASELINE, PROPOSED = "baseline", "proposed"
MOST_SYNTHETIC = 500_000  # images
CASIA_IMAGES, CASIA_PEOPLE = 494_414, 10_575  # of CASIA-WebFace (Yi et al. 2014, arXiv:1411.7923)
FROM_SCRATCH = "models/from_scratch"
LINE = re.compile(r"-?[01]\.\d{8},[01]\n")
ROUNDING = 1e-8  # of a score in the file
LINES_AT_ONCE = 65_536
NO_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can hold


class SubTask(NamedTuple):
    """What the proposed system may be trained on: real images too, and how many synthetic ones; None: any number."""

    real: bool
    synthetic: int | None


SUB_TASKS = {
    f"{task}.{kind}": SubTask(real, synthetic)
    for task in (1, 2)
    for kind, real, synthetic in ((1, False, MOST_SYNTHETIC), (2, False, None), (3, True, MOST_SYNTHETIC))
}


class Used(NamedTuple):
    """How many images of a source, and of how many people, a system was trained on or chosen by."""

    images: int
    people: int


class System(NamedTuple):
    """One of the two systems of a submission, an experiment.

    Attributes:
        role: baseline or proposed.
        experiment: its name.
        sets: the test sets of format frcsyn, as its params.yaml lists them.
        scores: their scores.
        thresholds: its models/threshold.json.
        used: of each source that it has.
        initial_weights: the file that its training began with.
    """

    role: str
    experiment: str
    sets: dict[str, dict[str, Any]]
    scores: dict[str, KeptScores]
    thresholds: Thresholds
    used: dict[str, Used]
    initial_weights: str

    def __str__(self) -> str:
        """Return role and name, for messages."""
        return f"{self.role} ({self.experiment})"


def load_system(role: str, experiment: str, only: Sequence[str]) -> System:
    """Return a system and `only` some test sets, or all of FRCSyn; StageError if it has none, or they are in no cache.

    A file that no cache has is named.
    """
    commit = WORKSPACE if experiment == WORKSPACE else resolve_experiment(experiment)
    params = read_params_at(commit, experiment)
    listed = params.get("test_sets") or {}
    sets = {str(name): entry for name, entry in listed.items() if entry.get("format") == "frcsyn"}
    if not sets or not {*only} <= {*sets}:
        wanted = f"{', '.join(only)} are not all among them" if only else "lists none of format frcsyn"
        raise StageError(
            f"{experiment}: {PARAMS_FILE}: test_sets: {wanted}; of format frcsyn: {', '.join(sets) or 'none'}"
        )
    sets = {name: entry for name, entry in sets.items() if name in (only or sets)}
    scores = {
        name: read_kept(read_output_at(commit, path := test_set_path(name)), f"{experiment}: {path}") for name in sets
    }
    thresholds = parse_thresholds(read_output_at(commit, THRESHOLD_PATH), f"{experiment}: {THRESHOLD_PATH}")
    used = images_used(read_output_at(commit, SPLIT_PATH))
    return System(role, experiment, sets, scores, thresholds, used, str(params["train"]["initial_weights"]))


def images_used(split: bytes) -> dict[str, Used]:
    """Return how many images of each source a system has seen by its data/split.csv: trained on, or chosen by."""
    columns = {"source": str, "label": np.int64, "part": str}
    table = pd.read_csv(io.BytesIO(split), usecols=list(columns), dtype=columns, keep_default_na=False)
    seen = table[~table["part"].isin([TEST_SEEN, TEST_UNSEEN])]
    return {
        str(source): Used(len(rows), rows["label"].nunique()) for source, rows in seen.groupby("source", sort=False)
    }


# The rules


def broken_rules(baseline: System, proposed: System, sub_task: str, real: Sequence[str]) -> list[str]:
    """Return a sentence on each rule of a sub-task that the training of the systems breaks, and by how much.

    `real` names the sources that are of real images; all others are synthetic.
    """
    limit, found = SUB_TASKS[sub_task], []
    for system in (baseline, proposed):
        of_real = {source: used for source, used in system.used.items() if source in real}
        for key, most in (("images", CASIA_IMAGES), ("people", CASIA_PEOPLE)):
            if (count := sum(getattr(used, key) for used in of_real.values())) > most:
                found.append(
                    f"{system}: {count:,} {key} of real sources; CASIA-WebFace, all that is allowed, has {most:,}: "
                    f"{count - most:,} too many"
                )
        if len(of_real) > 1:
            found.append(f"{system}: {len(of_real)} sources of real images, {', '.join(of_real)}: one is allowed")
    of_baseline, of_proposed = (
        {
            kind: sum(used.images for source, used in system.used.items() if (source in real) == kind)
            for kind in (True, False)
        }
        for system in (baseline, proposed)
    )
    if of_baseline[False]:
        found.append(
            f"{baseline}: {of_baseline[False]:,} synthetic images: none are allowed. --real names real sources"
        )
    if of_proposed[True] and not limit.real:
        found.append(f"{proposed}: {of_proposed[True]:,} real images: none are allowed")
    if not of_proposed[False]:
        found.append(f"{proposed}: no synthetic images: one is needed at least")
    if limit.synthetic is not None and of_proposed[False] > limit.synthetic:
        found.append(
            f"{proposed}: {of_proposed[False]:,} synthetic images; {limit.synthetic:,} are allowed: "
            f"{of_proposed[False] - limit.synthetic:,} too many"
        )
    return [f"sub-task {sub_task}: {sentence}" for sentence in found]


def check_systems(baseline: System, proposed: System, real: Sequence[str]) -> None:
    """Raise StageError unless both systems scored the same lists, whole and in order, each with one threshold.

    Warn of what the rules may not allow and no count shows.
    """
    if unknown := set(real) - {*baseline.used, *proposed.used}:
        raise StageError(
            f"--real {min(unknown)}: no such source; known: {', '.join({**baseline.used, **proposed.used})}"
        )
    for name in {**baseline.sets, **proposed.sets}:
        entries = [system.sets.get(name) for system in (baseline, proposed)]
        if entries[0] != entries[1]:
            raise StageError(f"test set {name}: {baseline} has {entries[0]}, {proposed} has {entries[1]}")
    for name, entry in baseline.sets.items():
        comparisons = read_comparisons(Path(entry["pairs"]))
        images = hash_names(comparisons.paths)
        for system in (baseline, proposed):
            check_order(system, name, entry["pairs"], [images[comparisons.a], images[comparisons.b]])
    for system in (baseline, proposed):
        for name, kept in system.scores.items():
            if kept.threshold != system.thresholds.threshold:
                raise StageError(
                    f"{system}: the threshold of {name} is {kept.threshold:.6f}, that of {THRESHOLD_PATH} "
                    f"{system.thresholds.threshold:.6f}: run `dvc repro` there"
                )
        if system.thresholds.chosen_on == TRAIN:
            warn(
                f"{system}: the threshold was chosen on people that it was trained on, and is too strict for others; "
                "`split.validation_subjects` sets people aside for it"
            )
        if system.initial_weights != FROM_SCRATCH:
            warn(
                f"{system}: training began with {system.initial_weights}; what that was trained on is not counted here"
            )
    if any(baseline.scores[name].embeddings == proposed.scores[name].embeddings for name in baseline.sets):
        warn(f"{baseline} and {proposed} have the same embeddings: they are one system")


def check_order(system: System, name: str, path: str, images: list[NDArray[np.uint64]]) -> None:
    """Raise StageError unless a system's scores are of the comparisons of a file, in its order, and finite.

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


def clear(folder: Path) -> None:
    """Delete an earlier submission; StageError if the folder holds anything else."""
    if not folder.exists():
        return
    names = {f"{role}.txt" for role in (BASELINE, PROPOSED)}
    strange = [path for path in sorted(folder.rglob("*")) if not path.is_dir() and path.name not in names]
    if strange:
        raise StageError(
            f"{folder}: holds {strange[0].relative_to(folder)}, which is of no submission; name another folder"
        )
    shutil.rmtree(folder)


def write_submission(systems: Sequence[System], folder: Path) -> Path:
    """Write a submission into a folder, in place of an earlier one, and into a zip beside it; return the zip.

    The same scores give the same bytes.
    """
    clear(folder)
    archive = folder.with_name(f"{folder.name}.zip")
    with replacing(archive) as temporary, ZipFile(temporary, "w", ZIP_DEFLATED) as file:
        for name in systems[0].sets:
            for system in systems:
                path = folder / name / f"{system.role}.txt"
                scores = system.scores[name].sets[name].every.scores
                with replacing(path) as unfinished, open(unfinished, "w", encoding="ascii", newline="\n") as text:
                    text.writelines(score_lines(scores, system.thresholds.threshold))
                member = ZipInfo(f"{name}/{path.name}", NO_DATE)
                member.compress_type, member.external_attr = ZIP_DEFLATED, 0o644 << 16
                member.file_size = path.stat().st_size  # by which zipfile chooses the format of the member
                with open(path, "rb") as source, file.open(member, "w") as target:
                    shutil.copyfileobj(source, target)
    return archive


def check_submission(archive: Path, counts: Mapping[str, int]) -> None:
    """Raise StageError unless a zip is a whole submission of test sets with so many comparisons.

    Every file is there and no other, with a line for each comparison, and one threshold of a system separates what it
    accepts from what it does not, over all test sets.
    """
    with ZipFile(archive) as file:
        wanted = {f"{name}/{role}.txt" for name in counts for role in (BASELINE, PROPOSED)}
        if wrong := wanted ^ {*file.namelist()}:
            raise StageError(
                f"{archive}: {min(wrong)}: {'is missing' if min(wrong) in wanted else 'is of no test set'}"
            )
        for role in (BASELINE, PROPOSED):
            accepted, rejected = np.inf, -np.inf  # the lowest score of the one, the highest of the other
            for name, count in counts.items():
                where, number = f"{archive}: {name}/{role}.txt", 0
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
    baseline: str, proposed: str, sub_task: str, real: Sequence[str], folder: Path, only: Sequence[str] = ()
) -> tuple[str, list[str]]:
    """Write a submission of two experiments, check it, and return a sentence on it and the names of its test sets.

    `only` names its test sets, or is empty: all. StageError, with nothing written, names each rule that is broken.
    """
    systems = load_system(BASELINE, baseline, only), load_system(PROPOSED, proposed, only)
    check_systems(*systems, real)
    if broken := broken_rules(*systems, sub_task, real):
        raise StageError("\n".join(broken))
    archive = write_submission(systems, folder)
    counts = {name: len(kept.sets[name].every.scores) for name, kept in systems[0].scores.items()}
    check_submission(archive, counts)
    trained = "; ".join(
        f"{system}: {', '.join(f'{used.images:,} images of {source}' for source, used in system.used.items())}, "
        f"threshold {system.thresholds.threshold:.6f} chosen on {system.thresholds.chosen_on}"
        for system in systems
    )
    sizes = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return f"{archive} and {folder}/: sub-task {sub_task}, {sizes} comparisons\n{trained}", list(counts)
