"""External test sets from their files to their metrics, on the small project's own images."""

import json
import pickle
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.spatial.distance import cosine
from sklearn.metrics import accuracy_score, roc_auc_score

from faces.tables.kept_scores import read_kept
from faces.tables.split_table import read_split
from score import thin_out
from small_project import draw_images, run_stage, write_params


def write_test_sets(folder: Path, people: int = 8, images: int = 4) -> dict[str, dict[str, str]]:
    """Write the same images and pairs as a folder with pairs.txt, as a .bin and as a csv; return their parameters."""
    draw_images(folder / "drawn", people, images, seed=5)
    for person in range(people):
        name = f"Person_{person}"
        (folder / "lfw" / name).mkdir(parents=True)
        for image in range(images):
            source = folder / f"drawn/subject {person}/{image}.png"
            source.rename(folder / f"lfw/{name}/{name}_{image + 1:04d}.png")
    lines, pairs = ["2\t6"], []
    for fold in range(2):
        own = range(fold * people // 2, (fold + 1) * people // 2)
        genuine = [(p, i, p, j) for p in own for i, j in combinations(range(1, 3), 2)][:4]
        genuine += [(p, 1, p, 3) for p in own][:2]
        impostor = [(p, 1, q, 2) for p, q in combinations(own, 2)][:6]
        lines += [f"Person_{p}\t{i}\t{j}" for p, i, _, j in genuine]
        lines += [f"Person_{p}\t{i}\tPerson_{q}\t{j}" for p, i, q, j in impostor]
        pairs += genuine + impostor
    (folder / "pairs.txt").write_text("\n".join(lines) + "\n")
    files = [[f"Person_{p}/Person_{p}_{i:04d}.png" for p, i in ((a, i), (b, j))] for a, i, b, j in pairs]
    same = [a == b for a, _, b, _ in pairs]
    images_of_bin = [(folder / "lfw" / name).read_bytes() for pair in files for name in pair]
    (folder / "set.bin").write_bytes(pickle.dumps((images_of_bin, same), protocol=2))
    rows = [
        (*pair, int(label), number // 12, "xy"[number % 2])
        for number, (pair, label) in enumerate(zip(files, same, strict=True))
    ]
    table = pd.DataFrame(rows, columns=["a", "b", "same", "fold", "group"])
    table.to_csv(folder / "pairs.csv", index=False)
    table.assign(**{f"subject_{image}": table[image].str.split("/").str[0] for image in "ab"}).to_csv(
        folder / "named.csv", index=False
    )
    lfw, bin_file = str(folder / "lfw"), str(folder / "set.bin")
    return {
        "as_lfw": {"format": "lfw", "images": lfw, "pairs": str(folder / "pairs.txt")},
        "as_bin": {"format": "bin", "images": bin_file, "pairs": bin_file},
        "as_csv": {"format": "csv", "images": lfw, "pairs": str(folder / "pairs.csv")},
        "as_named_csv": {"format": "csv", "images": lfw, "pairs": str(folder / "named.csv")},
    }


def score(name: str) -> dict[str, float]:
    run_stage("gather", name)
    run_stage("embed_test", name)
    run_stage("score", name)
    return json.loads(Path(f"metrics/score@{name}.json").read_text())


@pytest.fixture
def external(project: Path, tmp_path: Path) -> dict[str, dict[str, str]]:
    test_sets = write_test_sets(tmp_path / "external")
    write_params(project, test_sets=test_sets)
    return test_sets


def test_the_same_set_in_each_format_has_the_same_metrics(
    external: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("faces.evaluation.groups.MIN_PAIRS", 1)
    as_lfw, as_bin, as_csv, as_named_csv = (score(name) for name in external)
    tables = [pd.read_csv(f"data/tests/{name}.pairs.csv")[["a", "b", "same"]] for name in external]
    pixels = [np.load(f"data/tests/{name}.npy") for name in external]
    assert all(table.equals(tables[0]) for table in tables)
    assert all(np.array_equal(array, pixels[0]) for array in pixels)
    names_of_groups = ("of_group_", "group_accuracy", "groups_measured", "trade_off", "worst_to_best")
    of_groups = {name for name in as_named_csv if any(part in name for part in names_of_groups)}
    assert {name: as_named_csv[name] for name in as_named_csv if name not in of_groups} == as_lfw
    without_ends = {name for name in of_groups if not name.endswith(("_low", "_high"))}
    assert {name: as_named_csv[name] for name in without_ends} == {name: as_csv[name] for name in without_ends}
    assert {"fmr_of_group_x_low", "fnmr_of_group_y_high"} <= of_groups - without_ends and without_ends <= as_csv.keys()
    # Where nobody is named, there are no intervals.
    intervals = {name for name in as_lfw if name.endswith(("_low", "_high"))}
    assert {"accuracy_low", "auc_high", "eer_low"} <= intervals
    without = {name: value for name, value in as_lfw.items() if name not in intervals}
    assert {name: as_csv[name] for name in as_csv if name not in of_groups} == without
    printed = capsys.readouterr().err
    without_people = [line for line in printed.splitlines() if "intervals (they are over people" in line]
    assert [line.partition(": left out: ")[0] for line in without_people] == ["as_bin", "as_csv"]
    # A .bin has no folds of its own: its 24 pairs are cut into ten, and so small ones have no accuracy.
    assert {name: as_bin[name] for name in as_bin if "fold" not in name} == {
        name: without[name] for name in without if "fold" not in name
    }
    vectors = np.load("data/tests/as_lfw.embeddings.npy").astype(float)
    pairs = pd.read_csv("data/tests/as_lfw.pairs.csv")
    scores = np.array([1 - cosine(vectors[a], vectors[b]) for a, b in zip(pairs["a"], pairs["b"], strict=True)])
    threshold = json.loads(Path("metrics/evaluate.json").read_text())["threshold"]
    assert as_lfw["accuracy"] == accuracy_score(pairs["same"], scores >= threshold)
    assert as_lfw["auc"] == pytest.approx(roc_auc_score(pairs["same"], scores), abs=1e-9)
    # Two folds: each is scored at the lowest of the midpoints between scores that are best on the other.
    of_folds = []
    for fold in (0, 1):
        other, own = pairs["fold"] != fold, pairs["fold"] == fold
        distinct = np.unique(scores[other])
        candidates = [distinct[0] - 1, *(distinct[1:] + distinct[:-1]) / 2, distinct[-1] + 1]
        right = [accuracy_score(pairs["same"][other], scores[other] >= candidate) for candidate in candidates]
        of_folds.append(accuracy_score(pairs["same"][own], scores[own] >= candidates[int(np.argmax(right))]))
    assert as_lfw["fold_accuracy"] == pytest.approx(np.mean(of_folds))
    accuracy_of = [as_csv[f"accuracy_of_group_{group}"] for group in "xy"]
    assert as_csv["trade_off"] == pytest.approx(np.mean(accuracy_of) - np.std(accuracy_of))
    assert as_csv["groups_measured"] == 2 and "groups_measured" not in as_lfw


def test_groups_of_few_pairs_are_left_out_and_named(
    external: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert not [name for name in score("as_csv") if "group" in name]
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("as_csv: left out: "))
    assert "accuracy_of_group_x (needs 30 genuine and 30 impostor pairs, there are 6 and 6)" in line


def test_what_training_has_seen_is_counted_and_dropped(
    external: dict[str, Any], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = read_split(names=True)
    trained_on = split[split["part"] == "train"].iloc[0]
    lfw = Path(external["as_lfw"]["images"])
    Image.open(Path("images", trained_on["path"])).save(lfw / "Person_0/Person_0_0001.png")  # is in three pairs
    counts = score("as_lfw")
    pairs = pd.read_csv("data/tests/as_lfw.pairs.csv")
    image = pd.read_csv("data/tests/as_lfw.images.csv")["path"].tolist().index("Person_0/Person_0_0001.png")
    leaked = int(((pairs["a"] == image) | (pairs["b"] == image)).sum())
    assert (counts["shared_subjects"], counts["copies_of_training"], counts["leaked_pairs"]) == (0, 1, leaked)
    assert "as_lfw" in capsys.readouterr().err
    write_params(project, test_sets=external, score={"drop_leaked": True})
    dropped = score("as_lfw")
    assert dropped["genuine_pairs"] + dropped["impostor_pairs"] == 24 - leaked


def test_subjects_of_training_are_found_by_name(external: dict[str, Any], project: Path) -> None:
    split = read_split(names=True)
    subject = split[split["part"] == "train"]["subject"].iloc[0]
    table = Path("data/split.csv")
    table.write_text(table.read_text().replace(subject + ",", "Person_3,"))
    assert score("as_lfw")["shared_subjects"] == 1
    assert score("as_named_csv")["shared_subjects"] == 1
    assert score("as_csv")["shared_subjects"] == 0  # which names nobody


@pytest.mark.parametrize("what", ["threshold", "embeddings", "name"])
def test_what_is_missing_is_named(
    external: dict[str, Any], project: Path, what: str, fails_with: Callable[..., str]
) -> None:
    run_stage("gather", "as_lfw")
    if what == "name":
        for command in (["gather", "nobody"], ["embed_test", "nobody"], ["score", "nobody"]):
            said = "params.yaml: test_sets: 'nobody' is not among them; allowed: as_bin, as_csv, as_lfw"
            assert said in fails_with(*command)
        return
    if what == "threshold":
        Path("models/threshold.json").write_text("{}")
        assert "models/threshold.json: has no number `threshold`" in fails_with("score", "as_lfw")
        return
    assert "data/tests/as_lfw.embeddings.npy is missing" in fails_with("score", "as_lfw")


def test_the_floor_is_the_correlation_of_pixels(project: Path) -> None:
    sets = write_test_sets(project)
    write_params(project, test_sets={"as_csv": sets["as_csv"]}, metrics={"false_accept_rates": [], "bootstrap": 0})
    score("as_csv")
    found = json.loads(Path("metrics/score@as_csv.json").read_text())
    listed = pd.read_csv(sets["as_csv"]["pairs"])
    pixels = {
        name: np.asarray(Image.open(Path(sets["as_csv"]["images"], name))).ravel() for name in {*listed.a, *listed.b}
    }
    scores = [np.corrcoef(pixels[a], pixels[b])[0, 1] for a, b in zip(listed.a, listed.b, strict=True)]
    assert found["pixels_auc"] == pytest.approx(roc_auc_score(listed.same, scores))
    # The training images are coarse patterns with noise, like these: their threshold tells all of these apart.
    assert found["pixels_accuracy"] == pytest.approx(accuracy_score(listed.same, np.array(scores) > 0.5)) == 1.0


# FRCSyn


@pytest.fixture
def frcsyn(project: Path) -> None:
    """The same pairs in FRCSyn's format, without labels and with paths that say who is on an image; and as LFW's."""
    external = write_test_sets(project / "external")
    pairs = pd.read_csv(external["as_csv"]["pairs"])
    (project / "list.txt").write_text("".join(f"{a};{b}\n" for a, b in zip(pairs["a"], pairs["b"], strict=True)))
    bare = {"format": "frcsyn", "images": "external/lfw", "pairs": "list.txt"}
    people = bare | {"paths": "{subject}/{image}", "allow_missing": True}
    write_params(project, test_sets={"bare": bare, "people": people, "as_lfw": external["as_lfw"]})


@pytest.mark.parametrize("order", [[1, 0], [1, 1, 1, 0, 0, 0]])
def test_pairs_are_thinned_out_within_each_kind(order: list[int]) -> None:
    """Every second one of a list that alternates is of one kind."""
    pairs = pd.DataFrame({"same": order * 60})
    assert thin_out(pairs, len(pairs)).equals(pairs)
    thinned = thin_out(pairs, len(pairs) // 6)
    assert thinned["same"].value_counts().to_dict() == {0: len(pairs) // 12, 1: len(pairs) // 12}


@pytest.mark.usefixtures("frcsyn")
def test_a_set_of_frcsyn_has_the_figures_of_the_same_pairs_in_another_format() -> None:
    """As in LFW's, paths name the people, so that there are intervals; the folds are others, since no file has them."""
    people, as_lfw = (
        {key: value for key, value in score(name).items() if "fold" not in key} for name in ("people", "as_lfw")
    )
    assert people == as_lfw and {"auc_low", "accuracy_high"} <= people.keys()


@pytest.mark.usefixtures("frcsyn")
def test_a_set_without_labels_is_scored_and_what_needs_them_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    found = score("bare")
    assert "bare: has no labels; left out: accuracy, auc, eer" in capsys.readouterr().err
    assert {"comparisons", "accepted", "threshold", "failed_comparisons"} <= found.keys() and "accuracy" not in found
    vectors = np.load("data/tests/bare.embeddings.npy").astype(float)
    pairs = pd.read_csv("data/tests/bare.pairs.csv")
    scores = np.array([1 - cosine(vectors[a], vectors[b]) for a, b in zip(pairs["a"], pairs["b"], strict=True)])
    assert found["comparisons"] == 24 and found["accepted"] == pytest.approx((scores >= found["threshold"]).mean())
    kept = read_kept(Path("data/tests/bare.scores.npz").read_bytes(), "").sets["bare"].every
    np.testing.assert_allclose(kept.scores, scores, atol=1e-6)
    assert len(kept.same) == 0
    for curve in ("roc", "groups", "reliability"):
        assert len(pd.read_csv(f"metrics/score/bare_{curve}.csv")) == 0
    assert pd.read_csv("metrics/score/bare_scores.csv")["share"].sum() == pytest.approx(1)


@pytest.mark.usefixtures("frcsyn")
def test_a_comparison_with_a_missing_image_fails_with_the_lowest_score() -> None:
    Path("external/lfw/Person_0/Person_0_0001.png").unlink()
    found = score("people")
    pairs = pd.read_csv("data/tests/people.pairs.csv")
    failed = ((pairs["a"] == 0) | (pairs["b"] == 0)).to_numpy()  # image 0 is the first of the first pair
    assert found["failed_comparisons"] == failed.sum() > 0
    kept = read_kept(Path("data/tests/people.scores.npz").read_bytes(), "").sets["people"].every
    assert (kept.scores[failed] == -1).all() and (kept.scores[~failed] > -1).all()
