import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from small_project import ROOT, commit, git, run_command, small_params, working_in, write_params


def test_the_projects_own_parameters_pass(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    run_command("check")
    assert capsys.readouterr().err == "params.yaml, sources and test sets: no errors found\n"


def test_every_problem_of_every_stage_is_reported_at_once(project: Path, fails_with: Callable[..., str]) -> None:
    params = small_params(split={"test_size": 2.0}, train={"epochs": -1, "batchsize": 3})
    params["sources"] = {"x": {"path": "/no/such/folder"}}
    params["extra"] = {}
    del params["pairs"]
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    printed = fails_with("faces", "check")
    for message in (
        "params.yaml: extra: unknown key",
        "split.test_size: 2.0: input should be less than 1",
        "train.epochs: -1: input should be greater than or equal to 0",
        "train.batchsize: unknown key",
        "section `pairs:` is missing",
        "/no/such/folder",
    ):
        assert printed.count(message) == 1, printed


@pytest.mark.parametrize("subjects", [0, 1])
def test_a_folder_without_two_subjects_is_found_before_anything_runs(
    project: Path, subjects: int, fails_with: Callable[..., str]
) -> None:
    for number in range(subjects):
        (project / f"few/{number}").mkdir(parents=True)
        (project / f"few/{number}/1.png").write_bytes(b"")
    (project / "few").mkdir(exist_ok=True)
    write_params(project, sources={"few": {"path": "few"}})
    assert "few" in fails_with("faces", "check")


def test_a_folder_that_dvc_has_yet_to_bring_is_no_problem(project: Path) -> None:
    (project / "data/later.dvc").touch()
    (project / "data/synthetic").mkdir()
    (project / "data/synthetic/dvc.yaml").touch()
    write_params(project, sources={"later": {"path": "data/later"}, "drawn": {"path": "data/synthetic/images"}})
    run_command("check")


@pytest.mark.parametrize("path", ["~/faces", "data/latr", "../faces", "/faces"])
def test_a_folder_that_nothing_will_bring_is_named(project: Path, path: str, fails_with: Callable[..., str]) -> None:
    write_params(project, sources={"later": {"path": path}})
    assert f"sources.later.path: {path!r}: there is no such folder" in fails_with("faces", "check")


def test_an_index_that_faiss_does_not_know_is_found(project: Path, fails_with: Callable[..., str]) -> None:
    write_params(project, mine={"index": "Nonsense"})
    assert "params.yaml: mine.index: 'Nonsense'" in fails_with("faces", "check")


@pytest.mark.parametrize("key", ["index", "index_parameters"])
def test_an_index_of_a_million_letters_is_named_in_a_line(
    project: Path, key: str, fails_with: Callable[..., str]
) -> None:
    write_params(project, mine={"index": "Flat"} | {key: "x" * 1_000_000})
    (line,) = [line for line in fails_with("faces", "check").splitlines() if "mine" in line]
    assert line.startswith(f"error: params.yaml: mine.{key}: 'xxx") and len(line) < 400
    assert line.endswith("string should have at most 200 characters")


def test_missing_weights_are_found(project: Path, fails_with: Callable[..., str]) -> None:
    write_params(project, train={"initial_weights": "models/gone.h5"})
    assert "train.initial_weights: 'models/gone.h5': no such file" in fails_with("faces", "check")


def test_weights_that_training_replaces_are_refused(project: Path, fails_with: Callable[..., str]) -> None:
    write_params(project, train={"initial_weights": "models/backbone.weights.h5"})
    assert "training replaces this file" in fails_with("faces", "check")


def test_one_folder_under_two_names_is_refused(project: Path, fails_with: Callable[..., str]) -> None:
    write_params(project, sources={"one": {"path": "images"}, "two": {"path": "models/../images"}})
    assert "sources.two.path: 'models/../images': the source 'one' has the same folder" in fails_with("faces", "check")


def test_every_source_that_is_wrong_is_named_at_once(project: Path, fails_with: Callable[..., str]) -> None:
    (project / "empty").mkdir()
    paths = {"a": "gone", "b": "images", "c": "empty", "d": "params.yaml"}
    write_params(project, sources={name: {"path": path} for name, path in paths.items()})
    printed = fails_with("faces", "check")
    assert "sources.a.path: 'gone': there is no such folder" in printed and "sources.b" not in printed
    assert "sources.c.path: 'empty': images of 0 subject(s)" in printed
    assert "sources.d.path: 'params.yaml': not a folder" in printed


def test_weights_that_are_no_weights_are_refused(project: Path, fails_with: Callable[..., str]) -> None:
    write_params(project, train={"initial_weights": "params.yaml"})
    assert "train.initial_weights: 'params.yaml': not an HDF5 file" in fails_with("faces", "check")


def test_a_lock_file_that_a_killed_dvc_left_is_removed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    locks = project / ".dvc/tmp/rwlock"
    locks.parent.mkdir(parents=True)
    locks.write_text("")
    with open(f"{locks}.lock", "wb") as guard:  # as a DVC that is writing it holds it
        fcntl.flock(guard, fcntl.LOCK_EX)
        run_command("check")
        assert locks.exists()
    run_command("check")
    assert not locks.exists()
    assert ".dvc/tmp/rwlock" in capsys.readouterr().err
    locks.write_text('{"read": {}, "write": {}}')
    run_command("check")
    assert locks.exists()


OUTSIDE = "'../faces': lies outside the project; a queued experiment runs in a copy"
IGNORED = "'images': is ignored by Git and not kept by DVC; a queued experiment runs in a copy"


@pytest.mark.parametrize(("path", "said"), [("../faces", OUTSIDE), ("images", IGNORED)])
def test_a_folder_that_a_queued_experiment_does_not_find_is_named(
    project: Path, path: str, said: str, fails_with: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "images").rename(project / path)
    write_params(project, sources={"faces": {"path": path}})
    git(project, "init", "--quiet")
    (project / ".gitignore").write_text("/images\n")
    run_command("check")
    assert capsys.readouterr().err.count(f"warning: params.yaml: sources.faces.path: {said}") == 1
    queued = project / ".dvc/tmp/exps/tmp0"
    git(project, "clone", "--quiet", ".", str(queued))
    for name in ("params.yaml", ".gitignore"):
        (queued / name).write_bytes((project / name).read_bytes())
    with working_in(queued):
        assert said in fails_with("faces", "check")


def test_folders_that_a_queued_experiment_finds_are_no_problem(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git(project, "init", "--quiet")
    (project / ".gitignore").write_text("/kept\n/images\n")
    shutil.copytree("images", "kept")
    (project / "kept.dvc").touch()
    shutil.copytree("images", "in Git")
    paths = ("kept", str(project / "images"), "in Git")
    write_params(project, sources={f"s{number}": {"path": path} for number, path in enumerate(paths)})
    run_command("check")
    assert "queued" not in capsys.readouterr().err


@pytest.mark.timeout(60)  # DVC would wait for the pipe for ever
def test_what_dvc_cannot_hash_is_named_before_dvc_reads_it(project: Path, fails_with: Callable[..., str]) -> None:
    os.mkfifo(project / "images/.pipe")
    (project / "test").mkdir()
    os.mkfifo(project / "test/pipe")
    (project / "pairs.csv").touch()
    write_params(project, test_sets={"x": {"format": "csv", "images": "test", "pairs": "pairs.csv"}})
    printed = fails_with("faces", "check")
    assert "sources.drawn.path: 'images': .pipe: a pipe: DVC would read it without end" in printed
    assert "test_sets.x.images: 'test': pipe: a pipe: DVC would read it without end" in printed


def test_a_whole_keras_model_is_no_weights_file_and_says_which_is(
    project: Path, fails_with: Callable[..., str]
) -> None:
    write_params(project, train={"initial_weights": "models/export/backbone.keras"})
    printed = fails_with("faces", "check")
    assert "a whole Keras model; name the weights that it was exported from" in printed


def test_weights_of_another_network_are_named_with_both_values(project: Path, fails_with: Callable[..., str]) -> None:
    start = "models/start.weights.h5"
    shutil.copy("models/backbone.weights.h5", start)
    write_params(project, train={"initial_weights": start})  # width 0.125, head linear, embedding_size 16
    run_command("check")
    write_params(project, train={"initial_weights": start, "width": 0.5, "head": "notebook", "embedding_size": 512})
    printed = fails_with("faces", "check")
    for key, both in (
        ("width: 0.5", "0.125"),
        ("head: 'notebook'", "'linear'"),
        ("embedding_size: 512", "16"),
    ):
        assert f"params.yaml: train.{key}: train.initial_weights, {start!r}, has {both}; set train." in printed


def test_damaged_weights_are_found(project: Path, fails_with: Callable[..., str]) -> None:
    start = Path("models/start.weights.h5")
    start.write_bytes(Path("models/backbone.weights.h5").read_bytes()[:100_000])
    write_params(project, train={"initial_weights": str(start)})
    assert f"{start} is damaged or not readable" in fails_with("faces", "check")


def test_people_set_aside_come_from_a_source_that_there_is(project: Path, fails_with: Callable[..., str]) -> None:
    write_params(project, split={"validation_subjects": 0.1, "validation_sources": ["drawn", "other"]})
    assert "params.yaml: split.validation_sources: 'other' is none of `sources`" in fails_with("faces", "check")


def test_faces_that_git_would_add_are_warned_of(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Git ignores a folder that DVC keeps, since `dvc add` writes it into .gitignore."""
    run_command("check")
    assert "git add --all" not in capsys.readouterr().err  # no repository
    git(project, "init", "--quiet")
    Path("pairs.csv").write_text("a,b,same\nsubject 0/0.png,subject 0/1.png,1\nsubject 0/0.png,subject 1/0.png,0\n")
    shutil.copytree("images", "test")
    write_params(project, test_sets={"x": {"format": "csv", "images": "test", "pairs": "pairs.csv"}})
    run_command("check")
    said = capsys.readouterr().err
    assert "sources.drawn.path: 'images' lies in the project and Git does not ignore it" in said
    assert "test_sets.x.images: 'test' lies in the project and Git does not ignore it" in said
    Path(".gitignore").write_text("/images\n/test\n")
    run_command("check")
    assert "git add --all" not in capsys.readouterr().err


def test_git_notices_a_change_that_left_size_and_time_as_they_were(project: Path) -> None:
    Path(".gitignore").write_text("/*\n!/params.yaml\n!/metrics\n")
    git(project, "init", "--quiet")
    git(project, "config", "core.trustctime", "false")
    path = Path("metrics/split.json")
    os.utime(path, (1, 1))  # long before Git's index, else Git compares contents in any case
    commit(project, "start")
    path.write_text(path.read_text().replace("{", "[").replace("}", "]"))
    os.utime(path, (1, 1))
    assert git(project, "status", "--porcelain") == ""
    run_command("check")
    assert git(project, "status", "--porcelain") == " M metrics/split.json\n"


def test_no_repository_is_no_reason_to_stop(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    run_command("check")
