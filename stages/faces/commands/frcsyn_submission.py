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
from faces.core.params import PARAMS_FILE, check_params
from faces.core.terminal import warn
from faces.evaluation.roc import accept
from faces.evaluation.threshold import THRESHOLD_PATH, Thresholds, parse_thresholds
from faces.external.frcsyn_files import read_comparisons
from faces.reporting.experiments import WORKSPACE, read_output_at, read_params_at, resolve_experiment
from faces.tables.external_sets import ExternalSet
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
    """Its test sets, and what the proposed system may be trained on: real images, how many synthetic; None: any."""

    sets: tuple[str, ...]
    real: bool
    synthetic: int | None


SETS = {1: ("BUPT",), 2: ("BUPT", "AgeDB", "CFP-FP", "ROF")}
SUB_TASKS = {
    f"{task}.{kind}": SubTask(SETS[task], real, synthetic)
    for task in SETS
    for kind, real, synthetic in ((1, False, MOST_SYNTHETIC), (2, False, None), (3, True, MOST_SYNTHETIC))
}


class Experiment(NamedTuple):
    """An experiment: its name, where Git has it, its parameters, and `test_sets` of these by name."""

    name: str
    commit: str
    params: dict[str, Any]
    test_sets: dict[str, dict[str, Any]]


class Used(NamedTuple):
    """How many images of a source, and of how many people, a system was trained on or chosen by."""

    images: int
    people: int


class Trained(NamedTuple):
    """What one of the two systems of a submission, an experiment, is trained on.

    Attributes:
        role: baseline or proposed.
        experiment: its name.
        sources: what its params.yaml has of each source.
        used: what was used of each source; empty before training.
    """

    role: str
    experiment: str
    sources: dict[str, dict[str, Any]]
    used: dict[str, Used]

    def __str__(self) -> str:
        """Return role and name, for messages."""
        return f"{self.role} ({self.experiment})"

    def names(self, real: Sequence[str], of_real: bool) -> list[str]:
        """Return the names of the sources of real images, which `real` lists, or of the others."""
        return [name for name in self.used or self.sources if (name in real) == of_real]

    def describe(self, kind: str, names: Sequence[str]) -> str:
        """Return such as `5 real images of casia`; before training, without the number."""
        count = f"{sum(self.used[name].images for name in names):,} " if self.used else ""
        return f"{count}{kind} images of {', '.join(names)}"


class System(NamedTuple):
    """A system that is trained and has scored the test sets.

    Attributes:
        trained: what it was trained on.
        sets: the test sets of the sub-task, as its params.yaml lists them.
        scores: their scores.
        thresholds: its models/threshold.json.
        initial_weights: the file that its training began with.
    """

    trained: Trained
    sets: dict[str, ExternalSet]
    scores: dict[str, KeptScores]
    thresholds: Thresholds
    initial_weights: str

    def __str__(self) -> str:
        """Return role and name, for messages."""
        return str(self.trained)


def open_experiment(name: str) -> Experiment:
    """Return an experiment, a branch, a tag, a commit or the workspace; StageError if it is none, or names a key."""
    commit = WORKSPACE if name == WORKSPACE else resolve_experiment(name)
    params = read_params_at(commit, name)
    return Experiment(name, commit, params, entries(params, "test_sets", f"{name}: {PARAMS_FILE}"))


def entries(params: Mapping[str, Any], section: str, where: str) -> dict[str, dict[str, Any]]:
    """Return the entries of a section by name; none if it is missing. StageError, after `where`, if it has no such."""
    found = params.get(section)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise StageError(f"{where}: {section}: {str(found)[:200]}: expected entries such as <name>: {{<key>: <value>}}")
    for name, entry in found.items():
        if not isinstance(entry, dict):
            raise StageError(f"{where}: {section}.{name}: {str(entry)[:200]}: expected {{<key>: <value>}}")
    return {str(name): entry for name, entry in found.items()}


def sets_of(test_sets: Mapping[str, dict[str, Any]], sub_task: str, where: str) -> dict[str, ExternalSet]:
    """Return the test sets of a sub-task, by their names in `test_sets`; StageError, after `where`, if one is missing.

    Case, - and _ in a name do not matter: the organisers write `cfp-fp` and `CFP-FP`.
    """
    listed = [name for name, entry in test_sets.items() if entry.get("format") == "frcsyn"]
    found, said = dict[str, ExternalSet](), f"sub-task {sub_task} is scored on {', '.join(SUB_TASKS[sub_task].sets)}"
    for wanted in SUB_TASKS[sub_task].sets:
        names = [name for name in listed if _plain(name) == _plain(wanted)]
        if len(names) != 1:
            problem = f"{' and '.join(names)} are one test set" if names else f"{wanted} is missing"
            raise StageError(f"{where}: {problem}; {said}; of format frcsyn are {', '.join(listed) or 'none'}")
        found[names[0]] = check_params(test_sets[names[0]], ExternalSet, f"{where}.{names[0]}")
    return found


def _plain(name: str) -> str:
    return re.sub("[-_]", "", name).casefold()


def load_system(role: str, name: str, sub_task: str) -> System:
    """Return a system with the test sets of a sub-task; StageError names one that it does not have.

    A file that no cache has is named.
    """
    _, commit, params, test_sets = open_experiment(name)
    where = f"{name}: {PARAMS_FILE}"
    sets = sets_of(test_sets, sub_task, f"{where}: test_sets")
    scores = {
        set_name: read_kept(read_output_at(commit, path := test_set_path(set_name)), f"{name}: {path}")
        for set_name in sets
    }
    thresholds = parse_thresholds(read_output_at(commit, THRESHOLD_PATH), f"{name}: {THRESHOLD_PATH}")
    used = images_used(read_output_at(commit, SPLIT_PATH))
    trained = Trained(role, name, entries(params, "sources", where), used)
    return System(trained, sets, scores, thresholds, str(setting(params, "train", "initial_weights", where)))


def setting(params: Mapping[str, Any], section: str, key: str, where: str) -> Any:
    """Return a parameter; StageError, after `where`, if it is not there."""
    values = params.get(section)
    if not isinstance(values, dict) or key not in values:
        raise StageError(f"{where}: {section}.{key}: missing")
    return values[key]


def images_used(split: bytes) -> dict[str, Used]:
    """Return how many images of each source a system has seen by its data/split.csv: trained on, or chosen by."""
    columns = {"source": str, "label": np.int64, "part": str}
    table = pd.read_csv(io.BytesIO(split), usecols=list(columns), dtype=columns, keep_default_na=False)
    seen = table[~table["part"].isin([TEST_SEEN, TEST_UNSEEN])]
    return {
        str(source): Used(len(rows), rows["label"].nunique()) for source, rows in seen.groupby("source", sort=False)
    }


# The rules


def broken_rules(baseline: Trained, proposed: Trained, sub_task: str, real: Sequence[str]) -> list[str]:
    """Return a sentence on each rule of a sub-task that the training of the systems breaks, and by how much.

    `real` names the sources that are of real images; all others are synthetic. Before training, the numbers of images
    are not known, and nothing is said of them.
    """
    limit, found = SUB_TASKS[sub_task], []
    of_real = [system.names(real, of_real=True) for system in (baseline, proposed)]
    for system, names in zip((baseline, proposed), of_real, strict=True):
        for key, most in (("images", CASIA_IMAGES), ("people", CASIA_PEOPLE)):
            if (count := sum(getattr(system.used[name], key) for name in names if system.used)) > most:
                found.append(
                    f"{system}: {count:,} {key} of real sources; CASIA-WebFace, all that is allowed, has {most:,}: "
                    f"{count - most:,} too many"
                )
        if len(names) > 1:
            found.append(f"{system}: {len(names)} sources of real images, {', '.join(names)}: one is allowed")
    if names := baseline.names(real, of_real=False):
        found.append(
            f"{baseline}: {baseline.describe('synthetic', names)}: none are allowed; --real names real sources"
        )
    if of_real[1] and not limit.real:
        found.append(f"{proposed}: {proposed.describe('real', of_real[1])}: none are allowed")
    elif different_sources(baseline, proposed, of_real):
        found.append(
            f"{baseline} is trained on real images of {', '.join(of_real[0])}, {proposed} on those of "
            f"{', '.join(of_real[1])}: both should be CASIA-WebFace"
        )
    if not (names := proposed.names(real, of_real=False)):
        found.append(f"{proposed}: no synthetic images: one is needed at least")
    synthetic = sum(proposed.used[name].images for name in names if proposed.used)
    if limit.synthetic is not None and synthetic > limit.synthetic:
        found.append(
            f"{proposed}: {synthetic:,} synthetic images; {limit.synthetic:,} are allowed: "
            f"{synthetic - limit.synthetic:,} too many"
        )
    return [f"sub-task {sub_task}: {sentence}" for sentence in found]


def different_sources(baseline: Trained, proposed: Trained, of_real: Sequence[Sequence[str]]) -> bool:
    """Tell whether two systems have other sources of real images: other names, and other entries in params.yaml.

    A warning says so if the names are the same and the entries are not: a folder may have moved.
    """
    first, second = (
        {name: system.sources.get(name, {"name": name}) for name in names}
        for system, names in zip((baseline, proposed), of_real, strict=True)
    )
    for name in [name for name in first if name in second and first[name] != second[name]]:
        warn(f"source {name}: {baseline} has {first[name]}, {proposed} has {second[name]}: are these the same images?")
    return bool(first and second) and set(first) != set(second) and [*first.values()] != [*second.values()]


def check_real(systems: Sequence[Trained], real: Sequence[str]) -> None:
    """Raise StageError if `real` names a source that neither system has."""
    known = dict.fromkeys(name for system in systems for name in system.used or system.sources)
    if unknown := set(real) - {*known}:
        raise StageError(f"--real {min(unknown)}: no such source; known: {', '.join(known)}")


def check_sets(systems: Sequence[Trained], sets: Sequence[Mapping[str, ExternalSet]], sub_task: str) -> None:
    """Raise StageError unless both systems have the same test sets; warn of a list of another task.

    The organisers have a folder of lists for each task, such as sub-tasks_1.1_1.2_1.3.
    """
    for name in {**sets[0], **sets[1]}:
        one, other = (of_system.get(name) for of_system in sets)
        if one != other:
            said = [entry.model_dump(exclude_defaults=True) if entry else "none" for entry in (one, other)]
            raise StageError(f"test set {name}: {systems[0]} has {said[0]}, {systems[1]} has {said[1]}")
    for name, entry in sets[0].items():
        folder = re.search(r"sub-tasks?_([\d._]+)", entry.pairs)
        tasks = re.findall(r"(\d)\.\d", folder[1]) if folder else []
        if tasks and sub_task[0] not in tasks:
            warn(f"test set {name}: {entry.pairs} is the list of another task than that of sub-task {sub_task}")


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
        warn_about_training(system.trained, system.thresholds.chosen_on == TRAIN, system.initial_weights)
    if any(baseline.scores[name].embeddings == proposed.scores[name].embeddings for name in baseline.sets):
        warn(f"{baseline} and {proposed} have the same embeddings: they are one system")


def warn_about_training(system: Trained, threshold_on_train: bool, initial_weights: str) -> None:
    """Warn of a threshold that is chosen on the people trained on, and of weights that training begins with."""
    if threshold_on_train:
        warn(
            f"{system}: the threshold is chosen on people that it is trained on, and is too strict for others; "
            "`split.validation_subjects` sets people aside for it"
        )
    if initial_weights != FROM_SCRATCH:
        warn(f"{system}: training begins with {initial_weights}; what that was trained on is not counted here")


def check_plan(
    baseline: tuple[str, Mapping[str, Any]],
    proposed: tuple[str, Mapping[str, Any]],
    sub_task: str,
    real: Sequence[str],
    folder: Path,
) -> None:
    """Raise StageError if two experiments that have yet to run can end in no submission: all that params.yaml tells.

    `baseline` and `proposed` are name and parameters. The numbers of images are checked in the end.
    """
    check_target(folder)
    systems, sets = [], []
    for role, (name, params) in ((BASELINE, baseline), (PROPOSED, proposed)):
        where = f"{name}: {PARAMS_FILE}"
        systems.append(Trained(role, name, entries(params, "sources", where), {}))
        sets.append(sets_of(entries(params, "test_sets", where), sub_task, f"{where}: test_sets"))
        if setting(params, "score", "drop_leaked", where):
            raise StageError(f"{where}: score.drop_leaked: true: a submission has every comparison; expected false")
        nobody = setting(params, "split", "validation_subjects", where) == 0
        warn_about_training(systems[-1], nobody, str(setting(params, "train", "initial_weights", where)))
    check_sets(systems, sets, sub_task)
    check_real(systems, real)
    if broken := broken_rules(systems[0], systems[1], sub_task, real):
        raise StageError("\n".join(broken))


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
    names = {f"{role}.txt" for role in (BASELINE, PROPOSED)}
    strange = [path for path in sorted(folder.rglob("*")) if not path.is_dir() and path.name not in names]
    if strange:
        raise StageError(
            f"{folder}: holds {strange[0].relative_to(folder)}, which is of no submission; name another folder"
        )


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

    Messages begin with `called`, or with the path of the zip.

    Every file is there and no other, with a line for each comparison, and one threshold of a system separates what it
    accepts from what it does not, over all test sets.
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
