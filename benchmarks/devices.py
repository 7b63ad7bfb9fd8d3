"""A training step of one device, of two that share the processor, and of two processes, by kind of batch norm.

Run     python -m benchmarks.devices     # after `make repro`
Prints  seconds a step of each way, and the ratio to one device with two threads, in rounds by turns

All devices are parts of one processor: the table shows what sharing costs, not what more devices bring. The seconds of
a step are the difference between a long and a short epoch, so they leave out everything that happens once.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import yaml

from benchmarks.growth import new_project
from benchmarks.timing import ratio
from faces.core.params import read_params

BATCH, SHORT, LONG, ROUNDS = 32, 10, 50, 2


class Way(NamedTuple):
    """How a step is shared: processes, threads of each, and changes to the section `train:`."""

    processes: int
    threads: int
    changes: dict[str, Any]


SYNCHRONIZED, LOCAL = {"batch_norm": "synchronized"}, {"batch_norm": "local"}
WAYS = {
    "one device, two threads": Way(1, 2, {"devices": 1}),
    "two devices": Way(1, 2, {"devices": 2} | SYNCHRONIZED),
    "two devices, local batch norm": Way(1, 2, {"devices": 2} | LOCAL),
    "two processes of one thread": Way(2, 1, {"devices": 1} | SYNCHRONIZED),
    "two processes, local batch norm": Way(2, 1, {"devices": 1} | LOCAL),
}


def epoch_seconds(folder: Path, steps: int, way: Way) -> float:
    """Train an epoch of `steps` steps in a project; return the seconds that the steps took."""
    params = read_params()
    params["runtime"] |= {"threads": way.threads}
    params["train"] |= {"epochs": 1, "epoch_images": steps * BATCH, "batch_size": BATCH} | way.changes
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    shutil.rmtree(folder / "models/checkpoints", ignore_errors=True)
    train_together(folder, way.processes)
    speed = json.loads((folder / "metrics/speed/train.json").read_text(encoding="utf-8"))["images_per_second"]
    return steps * BATCH / speed


def train_together(folder: Path, processes: int) -> None:
    """Run stages/train.py in processes that share the training, each with its TF_CONFIG."""
    workers = [f"localhost:{free_port()}" for _ in range(processes)]
    started = []
    for index in range(processes):
        config = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        command = [sys.executable, str(Path("stages/train.py").resolve())]
        environment = os.environ | ({"TF_CONFIG": json.dumps(config)} if processes > 1 else {})
        started.append(subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL))
    if any([process.wait() for process in started]):
        sys.exit("training failed")


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as one:
        one.bind(("localhost", 0))
        port: int = one.getsockname()[1]
        return port


def main() -> None:
    """Print the table."""
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as temporary:
        folder = new_project(Path(temporary, "project"), read_params())
        (folder / "data").mkdir()
        (folder / "data/packed").symlink_to(Path("data/packed").resolve())
        shutil.copy("data/split.csv", folder / "data")
        for _ in range(ROUNDS):
            for name, way in WAYS.items():
                short, long = (epoch_seconds(folder, steps, way) for steps in (SHORT, LONG))
                seconds[name].append((long - short) / (LONG - SHORT))
    print(f"\ntraining step of the default network, batch {BATCH}\n")
    print("| way | seconds a step | times as long as one device |\n|---|---|---|")
    one = seconds["one device, two threads"]
    for name, measured in seconds.items():
        print(f"| {name} | {median(measured):.2f} | {ratio(one, measured)} |", flush=True)


if __name__ == "__main__":
    main()
