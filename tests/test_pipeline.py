"""The whole pipeline as a user runs it: `dvc repro` on synthetic faces, in a new checkout."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from small_project import PIPELINE, commit, dvc, dvc_fails, git, needs_default_data, new_checkout, outcome, ran

# Slow: DVC runs every stage as a process of its own, two minutes in all. `.ci/run` runs this file; `make test` runs
# the stages in one process (`pristine` in conftest.py) and asks DVC's graph what a change affects (test_dvc_yaml.py).
pytestmark = [needs_default_data, pytest.mark.slow]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_checkout(tmp_path_factory.mktemp("checkout") / "project", shallow=False)


@pytest.fixture(scope="module")
def first_run(checkout: Path) -> str:
    output = dvc(checkout, "repro")
    commit(checkout, "run")
    return output


def test_one_repro_runs_every_stage_and_leaves_nothing_to_do(checkout: Path, first_run: str) -> None:
    assert ran(first_run) == PIPELINE
    metrics = json.loads((checkout / "metrics/evaluate.json").read_text())
    assert {"accuracy_test_seen", "accuracy_test_unseen", "similarity_accuracy", "threshold"} <= metrics.keys()
    status = dvc(checkout, "status").split()
    assert status == ["check:", "always", "changed"]
    assert ran(dvc(checkout, "repro")) == []
    assert git(checkout, "status", "--porcelain") == ""  # Git ignores all that it must not hold


def test_every_stage_wrote_the_metrics_file_of_its_name(checkout: Path, first_run: str) -> None:
    shown = json.loads(dvc(checkout, "metrics", "show", "--json"))[""]["data"]
    others = {"metrics/evaluate/verification.json", "data/synthetic/synthesize.json"}
    in_metrics = {f"metrics/{stage}.json" for stage in PIPELINE if stage not in ("card", "synthesize")}
    assert set(shown) == in_metrics | others


def test_an_experiment_with_one_parameter_reruns_one_stage_and_the_card(checkout: Path, first_run: str) -> None:
    output = dvc(checkout, "exp", "run", "--name", "coarse", "--set-param", "evaluate.cosine_thresholds=[0.5,0.3]")
    assert ran(output) == ["evaluate", "card"]
    params = json.loads(dvc(checkout, "params", "diff", "--json"))["params.yaml"]
    assert list(params) == ["evaluate.cosine_thresholds"]
    changed = json.loads(dvc(checkout, "metrics", "diff", "--json"))["metrics/evaluate.json"]
    assert set(changed) == {"cosine_accuracy_0.30", "cosine_accuracy_0.42"}
    assert "coarse" in dvc(checkout, "exp", "show", "--csv")
    dvc(checkout, "plots", "diff", "--quiet", "--out", "compared")
    page = (checkout / "compared/index.html").read_text()
    assert all(
        title in page
        for title in ("ROC", "DET", "scores of all pairs", "t-SNE", "CMC", "errors by attribute", "training, AUC")
    )
    assert "<script src" not in page  # the chart library is in the page, not on the web
    shutil.rmtree(checkout / "compared")
    git(checkout, "checkout", "--quiet", ".")


def test_an_older_state_comes_back_from_the_run_cache(checkout: Path, first_run: str) -> None:
    params = checkout / "params.yaml"
    before, metrics = params.read_text(), (checkout / "metrics/pairs.json").read_bytes()
    params.write_text(before.replace("anchors: 4", "anchors: 2"))
    assert set(ran(dvc(checkout, "repro", "pairs"))) == {"pairs"}
    assert (checkout / "metrics/pairs.json").read_bytes() != metrics
    params.write_text(before)
    output = dvc(checkout, "repro", "pairs")
    assert "'pairs' is cached" in output and ran(output) == []
    assert (checkout / "metrics/pairs.json").read_bytes() == metrics


def test_the_graph_has_every_stage(checkout: Path) -> None:
    graph = dvc(checkout, "dag")
    assert all(stage in graph for stage in PIPELINE)


@pytest.mark.parametrize("command", [("repro",), ("exp", "run"), ("exp", "run", "--temp")])
def test_a_bad_value_stops_before_any_output_is_touched(
    checkout: Path, first_run: str, command: tuple[str, ...]
) -> None:
    before = outcome(checkout)
    params = checkout / "params.yaml"
    params.write_text(params.read_text().replace("margin: 0.3", "margin: 9.0"))
    assert "params.yaml: train.margin: 9.0: input should be less than" in dvc_fails(checkout, *command)
    assert outcome(checkout) == before and (checkout / "data/checked.txt").exists()
    git(checkout, "checkout", "--quiet", ".")


def test_a_source_that_is_gone_stops_unless_dvc_is_told_to_go_without_it(checkout: Path, first_run: str) -> None:
    shutil.copytree(checkout / "data/synthetic/images", checkout.parent / "faces")
    params = checkout / "params.yaml"
    params.write_text(params.read_text().replace("data/synthetic/images", str(checkout.parent / "faces")))
    dvc(checkout, "repro", "split")
    (checkout.parent / "faces").rename(checkout.parent / "elsewhere")
    before = sorted(checkout.glob("data/packed/**/*"))
    assert f"'{checkout.parent}/faces': there is no such folder" in dvc_fails(checkout, "repro", "split")
    assert sorted(checkout.glob("data/packed/**/*")) == before
    assert ran(dvc(checkout, "repro", "split", "--allow-missing")) == []
    git(checkout, "checkout", "--quiet", ".")
    dvc(checkout, "checkout", "--quiet")


def test_a_stage_runs_bare(checkout: Path, first_run: str) -> None:
    metrics = (checkout / "metrics/evaluate.json").read_bytes()
    subprocess.run([sys.executable, "stages/evaluate.py"], cwd=checkout, check=True, capture_output=True)
    assert (checkout / "metrics/evaluate.json").read_bytes() == metrics
