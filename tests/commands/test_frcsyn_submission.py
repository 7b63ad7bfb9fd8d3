"""A submission to FRCSyn: its bytes, its checks, and the rules of the sub-tasks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
import yaml

from faces.commands import frcsyn_submission as submission
from faces.commands.frcsyn_rules import Trained, Used
from faces.commands.frcsyn_submission import (
    System,
    check_submission,
    images_used,
    make_submission,
    write_submission,
)
from faces.core.errors import StageError
from faces.evaluation.threshold import read_thresholds
from faces.tables.external_sets import ExternalSet
from faces.tables.kept_scores import KeptPairs, KeptScores, KeptSet, hash_names, write_kept
from faces.tables.kept_scores import test_set_path as scores_path
from small_project import commit, dvc, git, run_command, write_params

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # of pygtrie, which DVC uses

NO_LABELS = np.empty(0, np.int8)


def kept(name: str, pairs: list[tuple[str, str]], scores: list[float], threshold: float, embeddings: str) -> KeptScores:
    images = sorted({image for pair in pairs for image in pair})
    a, b = (np.array([images.index(pair[side]) for pair in pairs], np.int32) for side in (0, 1))
    every = KeptPairs(hash_names(images), np.empty(0, np.uint64), a, b, NO_LABELS, np.array(scores))
    return KeptScores(embeddings, threshold, {name: KeptSet(every, every)}, {})


PAIRS = {"one": [("x.png", "y.png"), ("z.png", "x.png"), ("y.png", "z.png")], "two": [("x.png", "y.png")]}
SCORES = {"one": [0.25, -0.5, 0.1234567891], "two": [1.0]}
LINES = {"one": "0.25000000,1\n-0.50000000,0\n0.12345679,0\n", "two": "1.00000000,1\n"}


def system(role: str, used: dict[str, Used] | None = None, **changes: Any) -> System:
    thresholds = read_thresholds().model_copy(update={"threshold": 0.25, "chosen_on": "validation_unseen"})
    scores = {name: kept(name, PAIRS[name], SCORES[name], 0.25, role) for name in PAIRS}
    sets = {name: ExternalSet(format="frcsyn", images="faces", pairs=f"{name}.txt") for name in PAIRS}
    used = {"real": Used(100, 10)} if used is None else used
    made = System(Trained(role, f"my-{role}", {name: {} for name in used}, used), sets, scores, thresholds, {})
    return made._replace(**changes)


def both() -> tuple[System, System]:
    return system("baseline"), system("proposed", {"real": Used(100, 10), "drawn": Used(500, 20)})


@pytest.fixture
def lists(project: Path) -> None:
    for name, pairs in PAIRS.items():
        Path(f"{name}.txt").write_text("".join(f"{a};{b}\n" for a, b in pairs))


def test_lines_are_score_and_decision_in_order_and_bytes_repeat(lists: None) -> None:
    archive = write_submission(both(), Path("out/mine"))
    first = archive.read_bytes()
    assert archive == Path("out/mine.zip")
    for name, text in LINES.items():
        for role in ("baseline", "proposed"):
            assert Path(f"out/mine/{name}/{role}.txt").read_text() == text
    with ZipFile(archive) as file:
        assert file.namelist() == [f"{name}/{role}.txt" for name in PAIRS for role in ("baseline", "proposed")]
        assert file.read("one/proposed.txt").decode() == LINES["one"]
    check_submission(archive, {"one": 3, "two": 1})
    assert write_submission(both(), Path("out/mine")).read_bytes() == first


@pytest.mark.parametrize(
    "folder, said",
    [
        ("params.yaml", "params.yaml: is not a folder"),
        ("params.yaml/mine", "params.yaml: is not a folder"),
        ("linked", "linked: is not a folder"),
        (".", ".: expected a folder of the submission's own"),
        ("models/..", "models/..: expected a folder of the submission's own"),
        ("taken", "taken.zip: is a folder, where the zip of the submission belongs"),
        ("photos", "photos.zip: holds ann/0.png, which is of no submission; name another folder"),
        ("text", "text.zip: is no zip of a submission"),
    ],
)
def test_a_target_that_is_no_folder_is_named(in_new_folder: None, folder: str, said: str) -> None:
    Path("params.yaml").write_text("x")
    Path("models").mkdir()
    Path("linked").symlink_to("models")
    Path("taken.zip").mkdir()
    Path("text.zip").write_text("x")
    with ZipFile("photos.zip", "w") as file:
        file.writestr("ann/0.png", b"")
    with pytest.raises(StageError) as error:
        submission.check_target(Path(folder))
    assert said in str(error.value)


def test_an_earlier_submission_stays_when_the_new_one_is_wrong(lists: None) -> None:
    archive = write_submission(both(), Path("out/mine"))
    before = {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
    assert len(before) == 5 and archive in before
    with pytest.raises(StageError, match=r"out/mine.zip: two/proposed.txt: line 1: 'nan,0"):
        wrong = changed("proposed", "two", scores=np.array([np.nan]))
        write_submission((system("baseline"), wrong), Path("out/mine"))
    assert {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in Path("out").iterdir()) == ["mine", "mine.zip"]


def test_a_folder_with_anything_else_is_left_alone(lists: None) -> None:
    with pytest.raises(StageError, match=r"models: holds .*, which is of no submission; name another folder"):
        write_submission(both(), Path("models"))
    assert Path("models/threshold.json").exists()


@pytest.mark.parametrize(
    "name, text, said",
    [
        ("one/baseline.txt", LINES["one"][:-13], "one/baseline.txt: has 2 lines; expected 3"),
        ("one/baseline.txt", LINES["one"][:-1], "line 3: '0.12345679,0'; expected such as '0.41235678,1'"),
        ("one/baseline.txt", LINES["one"].replace("0.25000000", "nan"), "line 1: 'nan,1"),
        ("one/baseline.txt", LINES["one"].replace("0.25000000", "0.25"), "line 1: '0.25,1"),
        ("one/baseline.txt", LINES["one"].replace("0000,1", "0000,2"), "line 1: '0.25000000,2"),
        ("two/proposed.txt", "0.30000000,0\n", "a score of 0.30000000 is rejected and one of 0.25000000 accepted"),
        ("two/proposed.txt", None, "two/proposed.txt: is missing"),
        ("three/proposed.txt", "", "three/proposed.txt: is of no test set"),
    ],
)
def test_a_wrong_submission_is_named(lists: None, name: str, text: str | None, said: str) -> None:
    with ZipFile(write_submission(both(), Path("sent"))) as file:
        content = {member: file.read(member).decode() for member in file.namelist()}
    content = {member: kept for member, kept in (content | {name: text}).items() if kept is not None}
    with ZipFile("other.zip", "w") as file:
        for member, kept_text in content.items():
            file.writestr(member, kept_text)
    with pytest.raises(StageError) as error:
        check_submission(Path("other.zip"), {"one": 3, "two": 1})
    assert said in str(error.value)


def test_images_that_only_test_are_not_counted() -> None:
    table = pd.DataFrame(
        {
            "source": ["real"] * 5 + ["drawn"],
            "label": [0, 0, 1, 0, 9, 2],
            "part": ["train", "validation", "validation_unseen", "test_seen", "test_unseen", "train"],
        }
    )
    assert images_used(table.to_csv(index=False).encode()) == {"real": Used(3, 2), "drawn": Used(1, 1)}


def changed(role: str, name: str, **changes: Any) -> System:
    made = system(role)
    every = made.scores[name].sets[name].every._replace(**changes)
    made.scores[name] = made.scores[name]._replace(sets={name: KeptSet(every, every)})
    return made


@pytest.mark.parametrize(
    "proposed, said",
    [
        (lambda: changed("proposed", "one", scores=np.zeros(2)), "2 scores of one, but one.txt has 3"),
        (lambda: changed("proposed", "one", a=np.array([0, 0, 1])), "one: score 2 is of other images than"),
        (
            lambda: system("proposed", sets={}),
            "test set one: baseline (my-baseline) has {'format': 'frcsyn', 'images': 'faces', 'pairs': 'one.txt'}, "
            "proposed (my-proposed) has none",
        ),
        (
            lambda: system("proposed", thresholds=system("x").thresholds.model_copy(update={"threshold": 0.5})),
            "proposed (my-proposed): the threshold of one is 0.250000, that of models/threshold.json 0.500000",
        ),
    ],
)
def test_scores_that_are_not_those_of_the_lists_are_named(
    lists: None, proposed: Callable[[], System], said: str
) -> None:
    with pytest.raises(StageError) as error:
        submission.check_systems(system("baseline"), proposed(), "2.3")
    assert said in str(error.value)


def test_what_no_count_shows_is_warned_of(lists: None, capsys: pytest.CaptureFixture[str]) -> None:
    one = system("baseline")
    train = one.thresholds.model_copy(update={"chosen_on": "train"})
    other = system("proposed", thresholds=train, networks={"teacher": "celeb.onnx"}, scores=one.scores)
    submission.check_systems(one, other, "2.3")
    said = capsys.readouterr().err
    assert "proposed (my-proposed): the threshold is chosen on people that it is trained on" in said
    assert "train.teacher: celeb.onnx: what this network was trained on is not counted here" in said
    assert "have the same embeddings: they are one system" in said


# From experiments


@pytest.fixture
def experiments(project: Path) -> Path:
    """Two commits of the small project with the scores of a set in DVC's cache, tagged `first` and `second`."""
    Path("bupt.txt").write_text("".join(f"{a};{b}\n" for a, b in PAIRS["one"]))
    sets = {"BUPT": {"format": "frcsyn", "images": "images", "pairs": "bupt.txt"}}
    sets["lfw"] = {"format": "lfw", "images": "images", "pairs": "pairs.txt"}
    git(project, "init", "--quiet")
    dvc(project, "init", "--quiet")
    threshold = read_thresholds().threshold
    outputs = [str(scores_path("BUPT")), "models/threshold.json", "data/split.csv"]
    for name, source, scores in (("first", "drawn", [0.9, -0.3, 0.0]), ("second", "made", [0.8, -0.4, 0.1])):
        write_params(project, test_sets=sets)
        write_kept(scores_path("BUPT"), kept("BUPT", PAIRS["one"], scores, threshold, name))
        split = pd.read_csv("data/split.csv", dtype=str, keep_default_na=False)
        split.assign(source=source).to_csv("data/split.csv", index=False)
        Path("metrics/score@BUPT.json").write_text(json.dumps({"comparisons": 3, "failed_comparisons": 2}))
        Path("metrics/score@lfw.json").write_text(json.dumps({"accuracy": 0.25}))
        dvc(project, "add", "--quiet", *outputs)
        commit(project, name)
        git(project, "tag", name)
    return project


def test_two_experiments_make_a_submission(
    experiments: Path, capsys: pytest.CaptureFixture[str], fails_with: Callable[..., str]
) -> None:
    arguments = ["submit", "--baseline", "first", "--proposed", "second", "--sub-task", "1.1", "--real", "drawn"]
    run_command("frcsyn", *arguments)
    printed = capsys.readouterr().out
    assert "submission.zip and submission/: sub-task 1.1, BUPT 3 comparisons" in printed
    assert "BUPT: has no labels, so no figures" in printed and "baseline (first): " in printed
    assert "lfw" not in printed and "labels are known of 0 of 1 test sets" in printed
    first, second = (Path(f"submission/BUPT/{role}.txt").read_text().split() for role in ("baseline", "proposed"))
    threshold = read_thresholds().threshold
    assert first == [f"{score:.8f},{int(score >= threshold)}" for score in (0.9, -0.3, 0.0)]
    assert second == [f"{score:.8f},{int(score >= threshold)}" for score in (0.8, -0.4, 0.1)]
    assert "failed comparisons, since an image is missing or broken: baseline: BUPT 2; proposed: BUPT 2" in printed
    said = "error: first: params.yaml: test_sets: AgeDB is missing; sub-task 2.1 is scored on BUPT, AgeDB, CFP-FP, ROF"
    assert said in fails_with("faces", "frcsyn", *arguments[:-3], "2.1", "--real", "drawn")
    assert "error: params.yaml: is not a folder" in fails_with("faces", "frcsyn", *arguments, "--to", "params.yaml")
    Path("submission.zip").unlink()
    broken = fails_with("faces", "frcsyn", *arguments[:-3], "1.2", "--real", "drawn", "made")
    assert "error: sub-task 1.2: proposed (second): " in broken and "real images of made: none are allowed" in broken
    assert not Path("submission.zip").exists()


def test_an_experiment_without_a_set_of_frcsyn_is_named(project: Path) -> None:
    with pytest.raises(StageError, match="workspace: params.yaml: test_sets: BUPT is missing; .* are none"):
        make_submission("workspace", "workspace", "1.1", [], Path("submission"))
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["test_sets"] = {"BUPT": {"format": "frcsyn", "images": "images", "pairs": "bupt.txt"}}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    with pytest.raises(StageError, match=r"workspace: data/tests/BUPT.scores.npz is missing; `dvc pull` fetches it"):
        make_submission("workspace", "workspace", "1.1", [], Path("submission"))
