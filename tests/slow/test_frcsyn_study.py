"""The challenge from end to end: drawn faces as synthetic ones, two other draws as real ones and as its test sets."""

import os
import shutil
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
import yaml

from small_project import ROOT, commit, environment_of, new_checkout, write_params

pytestmark = pytest.mark.slow

FACES = {"subjects": 8, "images_per_subject": 6}
SMALL = {
    "train.width": 0.125,
    "train.epochs": 2,
    "split.validation_subjects": 0.25,
    "split.test_size": 0.5,
    "mine.radius": 8,
}


def draw(folder: Path, seed: int, target: str) -> None:
    """Draw the faces of other people into a folder of the project."""
    write_params(folder, synthesize=FACES | {"seed": seed})
    subprocess.run([sys.executable, "stages/synthesize.py"], cwd=folder, env=environment_of(folder), check=True)
    shutil.move(folder / "data/synthetic/images", folder / target)


def faces(folder: Path, *arguments: str) -> str:
    environment = environment_of(folder) | {"PYTHONPATH": str(folder / "stages")}
    command = [sys.executable, "-m", "faces.commands.main", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_study_ends_in_a_submission(tmp_path: Path) -> None:
    folder = new_checkout(tmp_path / "project")
    (folder / "data/real").mkdir(parents=True)
    draw(folder, 7, "data/real/train")
    draw(folder, 9, "data/real/AgeDB")
    (folder / "data/real/AgeDB/attributes.csv").unlink()  # it might say who is on an image
    subjects = sorted(os.listdir(folder / "data/real/AgeDB"))
    lists: dict[str, list[tuple[str, str]]] = {"AgeDB": [], "BUPT": []}
    for race, people in (("Asian", subjects[:4]), ("Indian", subjects[4:])):
        for person in people:
            shutil.copytree(folder / "data/real/AgeDB" / person, folder / "data/real/BUPT" / race / person)
    images = {kind: sorted((folder / "data/real" / kind).glob("**/*.png")) for kind in lists}
    for kind, paths in images.items():
        names = [path.relative_to(folder / "data/real" / kind).as_posix() for path in paths]
        within = kind == "BUPT"  # comparisons are within a race
        lists[kind] = [(a, b) for a, b in combinations(names, 2) if not within or a.split("/")[0] == b.split("/")[0]]
        text = "".join(f"{a};{b}\n" for a, b in lists[kind])
        (folder / f"data/real/{kind}_comparison.txt").write_text(text)
    (folder / "data/real/AgeDB" / lists["AgeDB"][0][0]).unlink()
    entries = {
        kind: {"format": "frcsyn", "images": f"data/real/{kind}", "pairs": f"data/real/{kind}_comparison.txt"}
        for kind in lists
    }
    by_race = {"paths": "{race}/{subject}/{image}", "group_by": ["race"]}
    unlabelled = entries["AgeDB"] | {"allow_missing": True}
    test_sets = {name: unlabelled for name in ("AgeDB", "CFP-FP", "ROF")} | {"BUPT": entries["BUPT"] | by_race}
    sources = {"casia": {"path": "data/real/train"}, "synthetic": {"path": "data/synthetic/images"}}
    write_params(folder, synthesize=FACES, sources=sources, test_sets=test_sets)
    study = yaml.safe_load((ROOT / "experiments/frcsyn.yaml").read_text(encoding="utf-8"))
    study["all"] |= SMALL
    (folder / "experiments/frcsyn.yaml").write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    commit(folder, "study")

    printed = faces(folder, "study", "experiments/frcsyn.yaml")
    assert (
        "submission.zip and submission/: sub-task 2.3, BUPT 552, AgeDB 1,128, CFP-FP 1,128, ROF 1,128 comp" in printed
    )
    failed = sum(lists["AgeDB"][0][0] in pair for pair in lists["AgeDB"])
    counted = f"BUPT 0, AgeDB {failed}, CFP-FP {failed}, ROF {failed}"
    assert f"baseline: {counted}; proposed: {counted}\n" in printed
    assert "AgeDB: has no labels, so no figures" in printed and "TO" in printed
    first = (folder / "submission.zip").read_bytes()
    decisions = {}
    with ZipFile(folder / "submission.zip") as file:
        for kind, pairs in lists.items():
            for role in ("baseline", "proposed"):
                with file.open(f"{kind}/{role}.txt") as member:
                    table = pd.read_csv(member, header=None, names=["score", "decision"])
                assert len(table) == len(pairs) and np.isfinite(table["score"]).all()
                decisions[kind, role] = table
                gone = [lists["AgeDB"][0][0] in pair for pair in pairs]
                assert (table["score"] == -1).tolist() == (gone if kind == "AgeDB" else [False] * len(pairs))
    for role in ("baseline", "proposed"):
        both = pd.concat([decisions[kind, role] for kind in lists])
        assert both.loc[both["decision"] == 0, "score"].max() < both.loc[both["decision"] == 1, "score"].min()
    # BUPT's paths say who is on an image: so the accuracy that is printed follows from the file.
    same = np.array([a.split("/")[1] == b.split("/")[1] for a, b in lists["BUPT"]])
    own = (decisions["BUPT", "proposed"]["decision"].to_numpy() == 1) == same
    row = next(line.split() for line in printed.splitlines() if line.split()[:2] == ["BUPT", "accuracy"])
    assert float(row[3]) == pytest.approx(own.mean(), abs=5e-5)
    (folder / "submission.zip").unlink()
    again = [
        "--baseline",
        "frcsyn-baseline-0",
        "--proposed",
        "frcsyn-proposed-0",
        "--sub-task",
        "2.3",
        "--real",
        "casia",
    ]
    faces(folder, "frcsyn", "submit", *again)
    assert (folder / "submission.zip").read_bytes() == first
