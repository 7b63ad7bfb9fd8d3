"""The rules of FRCSyn's sub-tasks: their test sets, and what the two systems may be trained on.

The baseline is trained on real images alone, the proposed system with synthetic ones. Sub-tasks 1.x are scored on
BUPT-BalancedFace alone and ranked by TO, 2.x are scored on four test sets and ranked by the average accuracy. In x.1
and x.2 the proposed system is trained on synthetic images alone, in x.3 on CASIA-WebFace too. In x.1 and x.3 there may
be 500,000 synthetic images. (DeAndres-Tame et al. 2024, arXiv:2404.10378.)
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from faces.core.errors import StageError
from faces.core.params import PARAMS_FILE, check_params
from faces.core.terminal import warn
from faces.tables.external_sets import ExternalSet
from faces.training.model import FROM_SCRATCH
from faces.training.teacher import NO_TEACHER

BASELINE, PROPOSED = "baseline", "proposed"
MOST_SYNTHETIC = 500_000  # images
CASIA_IMAGES, CASIA_PEOPLE = 494_414, 10_575  # of CASIA-WebFace (Yi et al. 2014, arXiv:1411.7923)
NOTHING = {"initial_weights": FROM_SCRATCH, "teacher": NO_TEACHER}


class SubTask(NamedTuple):
    """A sub-task.

    Attributes:
        sets: its test sets.
        real: whether the proposed system may be trained on real images.
        synthetic: how many synthetic images it may be trained on; None: any number.
    """

    sets: tuple[str, ...]
    real: bool
    synthetic: int | None


SETS = {1: ("BUPT",), 2: ("BUPT", "AgeDB", "CFP-FP", "ROF")}
SUB_TASKS = {
    f"{task}.{kind}": SubTask(SETS[task], real, synthetic)
    for task in SETS
    for kind, real, synthetic in ((1, False, MOST_SYNTHETIC), (2, False, None), (3, True, MOST_SYNTHETIC))
}


class Used(NamedTuple):
    """How many images of a source, and of how many people, a system was trained on or chosen by."""

    images: int
    people: int


class Trained(NamedTuple):
    """What one of the two systems of a submission is trained on; each is an experiment.

    Attributes:
        role: baseline or proposed.
        experiment: its name in DVC or Git.
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


def entries(params: Mapping[str, Any], section: str, where: str) -> dict[str, dict[str, Any]]:
    """Return the entries of a section by name; none if it is missing. StageError names what has another shape.

    Its message begins with `where`.
    """
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
            problem = f"{' and '.join(names)} are names of one test set" if names else f"{wanted} is missing"
            raise StageError(f"{where}: {problem}; {said}; of format frcsyn are {', '.join(listed) or 'none'}")
        found[names[0]] = check_params(test_sets[names[0]], ExternalSet, f"{where}.{names[0]}")
    return found


def _plain(name: str) -> str:
    return re.sub("[-_]", "", name).casefold()


def setting(params: Mapping[str, Any], section: str, key: str, where: str) -> Any:
    """Return a parameter; StageError, after `where`, if it is not there."""
    values = params.get(section)
    if not isinstance(values, dict) or key not in values:
        raise StageError(f"{where}: {section}.{key}: missing")
    return values[key]


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


def other_networks(params: Mapping[str, Any], where: str) -> dict[str, str]:
    """Return the files of networks that a training uses: the key of `train:` -> path."""
    paths = {key: str(setting(params, "train", key, where)) for key in NOTHING}
    return {key: path for key, path in paths.items() if Path(path) != NOTHING[key]}


def warn_about_training(system: Trained, threshold_on_train: bool, networks: Mapping[str, str]) -> None:
    """Warn of a threshold that is chosen on the people trained on, and of `other_networks` that training uses."""
    if threshold_on_train:
        warn(
            f"{system}: the threshold is chosen on people that it is trained on, and is too strict for others; "
            "`split.validation_subjects` sets people aside for it"
        )
    for key, path in networks.items():
        warn(f"{system}: train.{key}: {path}: what this network was trained on is not counted here")


def check_plan(
    baseline: tuple[str, Mapping[str, Any]],
    proposed: tuple[str, Mapping[str, Any]],
    sub_task: str,
    real: Sequence[str],
) -> None:
    """Raise StageError if two experiments that have yet to run cannot end in a submission, as far as params.yaml tells.

    `baseline` and `proposed` are name and parameters. `make_submission` checks the numbers of images in the end.
    """
    systems, sets = [], []
    for role, (name, params) in ((BASELINE, baseline), (PROPOSED, proposed)):
        where = f"{name}: {PARAMS_FILE}"
        systems.append(Trained(role, name, entries(params, "sources", where), {}))
        sets.append(sets_of(entries(params, "test_sets", where), sub_task, f"{where}: test_sets"))
        if setting(params, "score", "drop_leaked", where):
            raise StageError(f"{where}: score.drop_leaked: true: a submission has every comparison; expected false")
        nobody = setting(params, "split", "validation_subjects", where) == 0
        warn_about_training(systems[-1], nobody, other_networks(params, where))
    check_sets(systems, sets, sub_task)
    check_real(systems, real)
    if broken := broken_rules(systems[0], systems[1], sub_task, real):
        raise StageError("\n".join(broken))
