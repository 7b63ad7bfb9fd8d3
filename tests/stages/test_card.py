import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import card
from small_project import commit, git, run_stage, write_params


def rows_of(text: str, first: str) -> list[str]:
    """Return the cells of the table row that begins with a text."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_figures_are_those_of_the_metrics(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_params(project, card={"name": "Faces of a test", "contact": "nobody@example.org"})
    run_stage("card")
    evaluated, identified = (json.loads(Path(f"metrics/{name}.json").read_text()) for name in ("evaluate", "identify"))
    assert f"AUC {evaluated['auc_test_unseen']:.3f}, EER " in (said := capsys.readouterr().err)
    assert f"kNN accuracy on people of training: {identified['knn_accuracy']:.3f}. " in said
    text = card.CARD_PATH.read_text()
    assert text.startswith("# Faces of a test\n") and "nobody@example.org" in text
    details = json.loads(Path("metrics/evaluate/verification.json").read_text())
    expected = [f"{part['auc']:.3f} ({part['auc_low']:.3f} to {part['auc_high']:.3f})" for part in details.values()]
    assert rows_of(text, "AUC") == ["AUC", *expected]
    split = pd.read_csv("data/split.csv")
    for part in ("train", "test_seen", "test_unseen"):
        of_part = split[split["part"] == part]
        assert rows_of(text, part)[2:] == [str(len(of_part)), str(of_part["subject"].nunique())]
    thresholds = json.loads(Path("models/threshold.json").read_text())
    cells = rows_of(text, "highest accuracy on `train` pairs")[1:]
    ends = {name: " ({:.4f} to {:.4f})".format(*thresholds[f"{name}_interval"]) for name in ("fmr", "fnmr")}
    assert cells == [f"{thresholds[name]:.4f}{ends.get(name, '')}" for name in ("threshold", "fmr", "fnmr")]
    exported = json.loads(Path("metrics/export.json").read_text())["int8"]
    assert rows_of(text, "int8")[1:3] == [f"{exported['size_bytes']:,}", f"{exported['lowest_cosine']:.5f}"]
    assert rows_of(text, "train.width")[1] == "0.125"
    assert "5 people are few" in text or "4 people are few" in text
    before = card.CARD_PATH.read_bytes()
    run_stage("card")
    assert card.CARD_PATH.read_bytes() == before


def test_its_command_finds_the_commit_that_recorded_the_weights(project: Path) -> None:
    digest = hashlib.md5(Path("models/backbone.weights.h5").read_bytes()).hexdigest()
    git(project, "init", "--quiet")
    for content in ("nothing", digest, f"{digest} and more"):
        Path("dvc.lock").write_text(content)
        commit(project, content)
    run_stage("card")
    (line,) = [line for line in card.CARD_PATH.read_text().splitlines() if line.startswith("    commit=")]
    found = subprocess.run(["bash", "-c", f"{line}; echo $commit"], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == git(project, "log", "-1", "--format=%h", "HEAD~1").strip()


@pytest.mark.parametrize("copies", [0, 3])
def test_limits_are_told_by_the_figures(project: Path, copies: int) -> None:
    path = Path("metrics/split.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"copies_test_seen": copies}))
    said = " ".join(card.limits({"train": {}}))
    assert ("3 test images are copies" in said) == (copies == 3)
    assert "No people were held out" in said and "seen no real face" not in said
    write_params(project, sources={"synthetic": {"path": "images"}})  # somebody's faces by that name
    assert "seen no real face" not in " ".join(card.limits({"train": {}}))
    write_params(project, sources={"mine": {"path": "data/synthetic/images"}})
    said = " ".join(card.limits({"test_unseen": {"impostor_pairs": 299_999}}))
    assert "seen no real face" in said and "Figures at an FMR of 0.0001 rest on few impostor pairs." in said


def test_a_missing_file_is_named(project: Path, fails_with: Callable[..., str]) -> None:
    Path("metrics/export.json").unlink()
    assert "error: metrics/export.json is missing" in fails_with("card")


def test_an_attribute_of_the_users_is_text_in_the_card_and_ends_no_row(project: Path) -> None:
    value = "hat: </script><script>alert(1)</script> a\n| b & <!--"
    rows = pd.DataFrame([["hat", value.replace("<", "&lt;"), "FNMR", 0.25, 40]])
    rows.to_csv("metrics/review/attributes.csv", header=["attribute", "value", "kind", "rate", "pairs"], index=False)
    run_stage("card")
    text = card.CARD_PATH.read_text()
    assert (
        r"| FNMR | hat: &lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt; a \| b &amp; &lt;!-- | 0.250 | 40 |"
        in text
    )
    assert "<" not in text
