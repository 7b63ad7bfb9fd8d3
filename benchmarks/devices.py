"""A training step of one device, of two that share the processor, and of two processes, by kind of batch norm.

Run     python -m benchmarks.devices     # after `make repro`
Prints  seconds a step of each, and how many times as long it takes as one device with two threads, in rounds by turns

The devices are parts of one processor: this is what sharing costs, not what more devices bring. A step's time is the
difference between a long and a short epoch, so that no start is in it.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.timing import ratio
from faces.core.params import read_params

BATCH, SHORT, LONG, ROUNDS = 64, 5, 25, 2
WAYS: dict[str, dict[str, Any]] = {
    "one device, two threads": {"threads": 2},
    "two devices": {"threads": 2, "devices": 2},
    "two processes of one thread": {"threads": 1, "processes": 2},
    "two processes, local batch norm": {"threads": 1, "processes": 2, "batch_norm": "local"},
}


def epoch_seconds(folder: Path, steps: int, changes: dict[str, Any]) -> float:
    """Train an epoch of so many steps in a project; return the seconds that it took."""
    params = read_params()
    params["train"] |= {"epochs": 1, "epoch_images": steps * BATCH, "batch_size": BATCH} | changes
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    shutil.rmtree(folder / "models/checkpoints", ignore_errors=True)
    script = Path("stages/train.py").resolve()
    subprocess.run([sys.executable, script], cwd=folder, check=True, stderr=subprocess.DEVNULL)
    speed = json.loads((folder / "metrics/speed/train.json").read_text(encoding="utf-8"))["images_per_second"]
    return steps * BATCH / speed


def main() -> None:
    """Print the table."""
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "data").mkdir()
        (folder / "models").mkdir()
        (folder / "data/packed").symlink_to(Path("data/packed").resolve())
        shutil.copy("data/split.csv", folder / "data")
        shutil.copy("models/from_scratch", folder / "models")
        for _ in range(ROUNDS):
            for name, changes in WAYS.items():
                both = [epoch_seconds(folder, steps, changes) for steps in (SHORT, LONG)]
                seconds[name].append((both[1] - both[0]) / (LONG - SHORT))
    print(f"\ntraining step of the default network, batch {BATCH}\n")
    print("| way | seconds a step | times as long as one device |\n|---|---|---|")
    one = seconds["one device, two threads"]
    for name, of_way in seconds.items():
        print(f"| {name} | {median(of_way):.2f} | {ratio(one, of_way)} |", flush=True)


if __name__ == "__main__":
    main()
