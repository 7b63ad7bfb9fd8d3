"""The rules of FRCSyn's sub-tasks, and which of them two systems break."""

from typing import Any

import pytest

from faces.commands.frcsyn_rules import Trained, Used, broken_rules, check_real, check_sets, sets_of
from faces.core.errors import StageError
from faces.tables.external_sets import ExternalSet


def trained(role: str, used: dict[str, Used] | None = None, **paths: str) -> Trained:
    """Return what a system was trained on, with the given paths of its sources."""
    used = {"real": Used(100, 10)} if used is None else used
    return Trained(role, f"my-{role}", {name: {"path": paths.get(name, name)} for name in used}, used)


# Rules: real images, people; synthetic images; what is broken, by sub-task
REAL = {"real": Used(490_623, 10_572)}
CASES = [
    ("1.3", REAL, REAL | {"drawn": Used(500_000, 10_000)}, []),
    ("2.3", REAL, REAL | {"drawn": Used(500_123, 9)}, ["500,123 synthetic images; 500,000 are allowed: 123 too many"]),
    ("2.1", REAL, {"drawn": Used(500_001, 9)}, ["500,001 synthetic images; 500,000 are allowed: 1 too many"]),
    ("1.2", REAL, {"drawn": Used(1_200_000, 60_000)}, []),
    ("2.2", REAL, REAL | {"drawn": Used(5, 1)}, ["490,623 real images of real: none are allowed"]),
    ("1.1", REAL | {"drawn": Used(7, 1)}, {"drawn": Used(5, 1)}, ["7 synthetic images of drawn: none are allowed"]),
    ("1.2", REAL, REAL, ["490,623 real images of real: none are allowed", "no synthetic images: one is needed"]),
    (
        "2.3",
        {"real": Used(600_000, 10_600)},
        {"drawn": Used(5, 1)},
        [
            "600,000 images of real sources; CASIA-WebFace, all that is allowed, has 494,414: 105,586 too many",
            "10,600 people of real sources; CASIA-WebFace, all that is allowed, has 10,575: 25 too many",
        ],
    ),
    (
        "2.3",
        {"real": Used(5, 1), "other": Used(5, 1)},
        {"drawn": Used(5, 1)},
        ["2 sources of real images, real, other: one is allowed"],
    ),
]  # fmt: skip


@pytest.mark.parametrize("sub_task, baseline, proposed, said", CASES)
def test_which_rule_is_broken_and_by_how_much(
    sub_task: str, baseline: dict[str, Used], proposed: dict[str, Used], said: list[str]
) -> None:
    found = broken_rules(trained("baseline", baseline), trained("proposed", proposed), sub_task, ["real", "other"])
    assert len(found) == len(said)
    for sentence, part in zip(found, said, strict=True):
        assert sentence.startswith(f"sub-task {sub_task}: ") and part in sentence


@pytest.mark.parametrize(
    "names, paths, broken, warned",
    [
        (("casia", "casia"), ({}, {}), False, False),
        (("casia", "webface"), ({}, {}), True, False),
        (("casia", "webface"), ({"casia": "/data/one"}, {"webface": "/data/one"}), False, False),  # one folder
        (("casia", "casia"), ({"casia": "/data/one"}, {"casia": "/data/two"}), False, True),
    ],
)
def test_both_systems_have_the_same_source_of_real_images(
    names: tuple[str, str],
    paths: tuple[dict[str, str], dict[str, str]],
    broken: bool,
    warned: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    baseline = trained("baseline", {names[0]: Used(5, 1)}, **paths[0])
    proposed = trained("proposed", {names[1]: Used(5, 1), "drawn": Used(7, 1)}, **paths[1])
    said = (
        "sub-task 2.3: baseline (my-baseline) is trained on real images of casia, proposed (my-proposed) on those of "
        "webface: both should be CASIA-WebFace"
    )
    assert broken_rules(baseline, proposed, "2.3", ["casia", "webface"]) == ([said] if broken else [])
    assert ("source casia: baseline (my-baseline) has {'path': '/data/one'}, " in capsys.readouterr().err) == warned


def test_a_source_that_neither_system_has_is_named() -> None:
    with pytest.raises(StageError, match="--real casia: no such source; known: real"):
        check_real([trained("baseline"), trained("proposed")], ["real", "casia"])


# The test sets of a sub-task


def listed(*names: str) -> dict[str, dict[str, Any]]:
    entry = {"format": "frcsyn", "images": "faces", "pairs": "list.txt"}
    return {name: entry for name in names} | {"lfw": entry | {"format": "lfw"}, "ROF-lfw": entry | {"format": "lfw"}}


def test_a_submission_has_the_test_sets_of_its_sub_task() -> None:
    four = listed("rof", "CFP-FP", "more", "agedb", "BUPT")
    for sub_task in ("1.1", "1.2", "1.3"):
        assert list(sets_of(four, sub_task, "x")) == ["BUPT"]
    for sub_task in ("2.1", "2.2", "2.3"):
        assert list(sets_of(four, sub_task, "x")) == ["BUPT", "agedb", "CFP-FP", "rof"]


@pytest.mark.parametrize(
    "names, sub_task, said",
    [
        (("BUPT", "agedb"), "2.3", "CFP-FP is missing; sub-task 2.3 is scored on BUPT, AgeDB, CFP-FP, ROF; of format "
         "frcsyn are BUPT, agedb"),
        ((), "1.1", "BUPT is missing; sub-task 1.1 is scored on BUPT; of format frcsyn are none"),
        (("BUPT", "bupt"), "1.1", "BUPT and bupt are names of one test set; sub-task 1.1"),
    ],
)  # fmt: skip
def test_a_test_set_that_a_sub_task_lacks_is_named(names: tuple[str, ...], sub_task: str, said: str) -> None:
    with pytest.raises(StageError) as error:
        sets_of(listed(*names), sub_task, "mine: params.yaml: test_sets")
    assert str(error.value).startswith(f"mine: params.yaml: test_sets: {said}")


def test_the_list_of_another_task_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    systems = [trained("baseline"), trained("proposed")]
    for task, sub_task, warned in (
        ("sub-tasks_1.1_1.2_1.3", "1.3", False),
        ("sub-tasks_1.1_1.2_1.3", "2.1", True),
        ("sub-tasks_2.1_2.2", "2.3", False),
        ("sub-tasks_2.1_2.2", "1.2", True),
        ("lists_of_1.1", "2.3", False),
    ):
        path = f"/data/{task}/bupt_comparison.txt"
        sets = {"BUPT": ExternalSet(format="frcsyn", images="faces", pairs=path)}
        check_sets(systems, [sets, sets], sub_task)
        said = f"warning: test set BUPT: {path} is the list of another task than that of sub-task {sub_task}\n"
        assert capsys.readouterr().err == (said if warned else "")
