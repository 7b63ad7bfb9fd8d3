"""Small projects on images made here, so that a stage can be run as its user runs it."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from faces.commands.main import dispatch
from faces.core.pipeline import STAGES, TEST_SET_STAGES
from faces.tables.splitting import SplitParams, Splitting

ROOT = Path(__file__).parent.parent
STAGES_AFTER_PACK = [stage for stage in STAGES[3:] if stage not in TEST_SET_STAGES]  # the first three come before
needs_default_data = pytest.mark.skipif(
    [*yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["sources"]] != ["synthetic"],
    reason="params.yaml has other sources: this test is about the default data",
)
SHALLOW = pytest.MonkeyPatch()  # what make_network_shallow has changed
PIPELINE = ["synthesize", "pack@synthetic", *STAGES_AFTER_PACK]
SMALL: dict[str, dict[str, Any]] = {
    "sources": {"drawn": {"path": "images"}},
    "pack": {"shard_images": 16},
    "split": {"unseen_subjects": 0.3, "validation_subjects": 0.0},
    # One device: TensorFlow parts the processor once a process, and tests of stages share one.
    "train": {
        "width": 0.125,
        "embedding_size": 16,
        "epochs": 2,
        "back_end": "none",
        "batch_size": 8,
        "devices": 1,
        "batch_norm": "synchronized",
        "validation_images": 12,
    },
    "identify": {"neighbours": 3, "pixel_images": 20, "enrolled_images": 3},
    "metrics": {"bootstrap": 20, "folds": 2},
    "mine": {"hyperplanes": 8, "neighbours": 10, "queries": 20, "recall_queries": 5},
    "review": {"tsne_subjects": 2, "worst_pairs": 3},
    "similarity": {"hidden_units": 8, "augmented_views": 2},
    "export": {"calibration_images": 4, "compared_pairs": 8, "lowest_cosine_int8": 0.0},
}


def small_params(**changes: dict[str, Any]) -> dict[str, Any]:
    """Return the project's parameters at a size for tests, with the given sections changed."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for section, values in [*SMALL.items(), *changes.items()]:
        params[section] = values if section in ("sources", "test_sets") else params[section] | values
    return params


def write_params(folder: Path, **changes: dict[str, Any]) -> None:
    (folder / "params.yaml").write_text(yaml.safe_dump(small_params(**changes)), encoding="utf-8")


def draw_images(root: Path, subjects: int = 6, images: int = 6, seed: int = 0) -> None:
    """Write <root>/<subject>/<image>.png: each subject a coarse colour pattern, each image that and noise."""
    random = np.random.default_rng(seed)
    for subject in range(subjects):
        folder = root / f"subject {subject}"
        folder.mkdir(parents=True)
        pattern = random.integers(0, 256, (7, 7, 3)).repeat(16, axis=0).repeat(16, axis=1)
        for image in range(images):
            noisy = np.clip(pattern + random.normal(0, 30, pattern.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / f"{image}.png")


def split_images(images: pd.DataFrame, params: SplitParams) -> pd.DataFrame:
    """Return the split of packed images, a table with source, row, subject and path."""
    splitting = Splitting(lambda: [of_source for _, of_source in images.groupby("source")], params)
    return pd.concat(splitting.pieces(pd.DataFrame({"source": [], "row": [], "group": []})))


def run_stage(name: str, *arguments: str) -> None:
    """Call the `main` of a stage's script in the current folder, with command-line arguments."""
    argv, sys.argv = sys.argv, [f"stages/{name}.py", *arguments]
    try:
        import_module(name).main()
    finally:
        sys.argv = argv


def run_command(name: str, *arguments: str) -> None:
    """Run `faces <name>` in the current folder; it must end with exit code 0."""
    assert dispatch([name, *arguments]) == 0


def check_project(folder: Path) -> None:
    """Run `faces check` in a folder, by the code of that folder."""
    command = [sys.executable, "-m", "faces.commands.main", "check"]
    subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": "stages"}, check=True)


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def new_project(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "models").mkdir()
    shutil.copy(ROOT / "models/from_scratch", folder / "models")
    shutil.copy(ROOT / "models/no_teacher", folder / "models")
    draw_images(folder / "images")
    write_params(folder)
    return folder


def start_tensorflow() -> None:
    """Fix TensorFlow's number of threads, which it takes once a process, before its first tensor."""
    from faces.network import runtime

    runtime.start(threads=2)


def make_network_shallow() -> None:
    """Leave one bottleneck of each stage of the network, 5 of 15: TensorFlow traces it in a third of the time.

    What a stage does with a network does not depend on its depth. The fixture `whole_network` undoes it.
    """
    from faces.network import mobilefacenet
    from faces.network.blocks import Bottlenecks

    blocks = mobilefacenet.BLOCKS
    shallow = tuple(replace(block, repeats=1) if isinstance(block, Bottlenecks) else block for block in blocks)
    SHALLOW.setattr(mobilefacenet, "BLOCKS", shallow)


def run_every_stage(folder: Path) -> None:
    """Make a small project and run every stage in it; a warning is an error."""
    start_tensorflow()
    make_network_shallow()
    new_project(folder)
    with working_in(folder), warnings.catch_warnings(action="error"):
        run_stage("pack", "drawn")
        for stage in STAGES_AFTER_PACK:
            run_stage(stage)


def finished_project(folder: Path) -> Path:
    """Return `folder`, in which every stage has run; the first process that asks makes it, the others wait.

    Another process makes it, whose memory is free again afterwards: 700 MB more than the tests take.
    """
    folder.parent.mkdir(exist_ok=True)
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            code = "import sys, pathlib, small_project; small_project.run_every_stage(pathlib.Path(sys.argv[1]))"
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
            making = folder.with_suffix(".unfinished")
            done = subprocess.run(
                [sys.executable, "-c", code, str(making)], env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            making.rename(folder)
    return folder


def environment_of(folder: Path) -> dict[str, str]:
    """Return the environment in which DVC finds this Python and keeps nothing outside the folder's parent."""
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DVC_SITE_CACHE_DIR": str(folder.parent / "site-cache"),
        "DVC_NO_ANALYTICS": "1",
    }


def call_dvc(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment_of(folder) | environment, capture_output=True, text=True, check=False
    )


def dvc(folder: Path, *arguments: str, **environment: str) -> str:
    """Run a DVC command in a folder, with some more environment variables if need be; return what it prints."""
    done = call_dvc(folder, *arguments, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def dvc_fails(folder: Path, *arguments: str) -> str:
    """Run a DVC command that must fail; return its stderr."""
    done = call_dvc(folder, *arguments)
    assert done.returncode != 0, done.stdout
    return done.stderr


def git(folder: Path, *arguments: str) -> str:
    """Run a Git command in a folder, as somebody; return what it prints."""
    identity = ("-c", "user.name=tester", "-c", "user.email=tester@example.com")
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def ran(output: str) -> list[str]:
    """Return the stages that a `dvc repro` says it ran, apart from `check`, which always runs."""
    lines = [line for line in output.splitlines() if line.startswith("Running stage")]
    return [stage for line in lines if (stage := line.split("'")[1].split(":")[-1]) != "check"]


def new_checkout(folder: Path, shallow: bool = True) -> Path:
    """Make a Git checkout of the project, as it is now, with small synthetic data that have not been drawn yet.

    Its network is shallow (`make_network_shallow`), unless told otherwise.
    """
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0")
    for name in names:
        path = ROOT / name
        if path.is_file() and not name.startswith(("tests/", "metrics/")) and not name.endswith("dvc.lock"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / name)
    small_faces = {"subjects": 6, "images_per_subject": 6}
    sources = {"synthetic": {"path": "data/synthetic/images"}}
    write_params(folder, synthesize=small_faces, sources=sources)
    network = folder / "stages/faces/network/mobilefacenet.py"
    if shallow:
        network.write_text(re.sub(r"repeats=\d", "repeats=1", network.read_text(encoding="utf-8")), encoding="utf-8")
    git(folder, "init", "--quiet")
    commit(folder, "a small project")
    return folder


def commit(folder: Path, message: str) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)


def outcome(folder: Path) -> dict[str, bytes]:
    """Return the bytes that must repeat: both lock files, all metrics and curves, and all models."""
    files = [*folder.glob("metrics/**/*"), *folder.glob("models/*"), folder / "data/synthetic/dvc.lock"]
    no_output = {"speed", "metrics.json"}  # timings, and the summary that DVCLive leaves, which Git ignores
    wanted = [path for path in [*files, folder / "dvc.lock"] if path.is_file() and not no_output & {*path.parts}]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(wanted)}
