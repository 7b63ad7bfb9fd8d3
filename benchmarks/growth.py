"""Seconds and memory of every stage that works on all images, at 1, 4 and 16 times the default number of them.

Run     python -m benchmarks.growth [factor …]
Writes  docs/growth.csv and docs/growth.png

`train` and `similarity` run one epoch, since more of them cost in proportion. Memory is what a stage's processes hold
of their own at their peak; pages of mapped files, which the system drops when it needs room, are not in it.
"""

import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import yaml

from faces.core.params import read_params
from faces.core.pipeline import STAGES, TEST_SET_STAGES

matplotlib.use("Agg")
GROWING = [stage for stage in STAGES if stage not in (*TEST_SET_STAGES, "check", "export", "card")]
TABLE, PICTURE = Path("docs/growth.csv"), Path("docs/growth.png")
POLL_SECONDS = 0.02


def new_project(folder: Path, params: dict[str, Any]) -> Path:
    """Return a new folder in which the stages can run with these parameters."""
    (folder / "models").mkdir(parents=True)
    for name in ("from_scratch", "no_teacher"):
        shutil.copy(f"models/{name}", folder / "models")
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    return folder


def own_bytes(process: int) -> int:
    """Return the memory that a process and those it started hold beside mapped files; 0 once it has ended."""
    total = 0
    try:
        for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("RssAnon"):
                total += 1024 * int(line.split()[1])
        for task in Path(f"/proc/{process}/task").iterdir():
            total += sum(own_bytes(int(child)) for child in (task / "children").read_text(encoding="ascii").split())
    except (OSError, ValueError):
        pass
    return total


def run_stage(stage: str, folder: Path) -> tuple[float, float]:
    """Run a stage of a project; return its seconds and the gigabytes of its peak."""
    source = ["synthetic"] if stage == "pack" else []
    script = Path("stages", f"{stage}.py").resolve()
    _, seconds, gigabytes = run_measured([sys.executable, str(script), *source], folder)
    return seconds, gigabytes


def run_measured(command: list[str], folder: Path) -> tuple[str, float, float]:
    """Run a command in a folder; return what it prints, its seconds and the gigabytes of its peak."""
    began, peak = time.perf_counter(), 0
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    printed: list[tuple[str, str]] = []
    reader = threading.Thread(target=lambda: printed.append(process.communicate()))
    reader.start()
    while process.poll() is None:
        peak = max(peak, own_bytes(process.pid))
        time.sleep(POLL_SECONDS)
    reader.join()
    if process.returncode:
        sys.exit(printed[0][1])
    return printed[0][0], time.perf_counter() - began, peak / 1e9


def plot(table: pd.DataFrame) -> None:
    """Draw seconds and memory of each stage over the number of images, both axes logarithmic."""
    import matplotlib.pyplot as plt

    figure, both = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
    for axes, column, label in zip(
        both, ("seconds", "gigabytes"), ("seconds", "own memory at the peak, GB"), strict=True
    ):
        axes.set_prop_cycle(color=plt.get_cmap("tab20")([*range(0, 20, 2), *range(1, 20, 2)]))
        for (stage, rows), marker in zip(table.groupby("stage", sort=False), "osv^D*PX<>hd", strict=True):
            axes.loglog(rows["images"], rows[column], marker=marker, label=str(stage))
        images = np.array([table["images"].min(), table["images"].max()])
        if column == "seconds":
            axes.loglog(images, images * (10 / images[0]), "k:", label="slope of a cost proportional to images")
            axes.legend(handles=axes.lines[-1:], loc="upper left")
        axes.set_xticks(sorted(table["images"].unique()), [f"{count:,}" for count in sorted(table["images"].unique())])
        axes.minorticks_off()
        axes.set_xlabel("images")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    both[1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=110, metadata={"Software": None})


def main() -> None:
    """Print, write and draw the table."""
    factors = [int(factor) for factor in sys.argv[1:]] or [1, 4, 16]
    rows = []
    for factor in factors:
        params = read_params()
        params["synthesize"]["subjects"] *= factor
        params["train"]["epochs"] = params["similarity"]["epochs"] = 1
        images = params["synthesize"]["subjects"] * params["synthesize"]["images_per_subject"]
        with tempfile.TemporaryDirectory() as temporary:
            folder = new_project(Path(temporary, "project"), params)
            for stage in GROWING:
                seconds, gigabytes = run_stage(stage, folder)
                rows.append((stage, images, seconds, gigabytes))
                print(f"{factor} x: {stage} {seconds:.1f} s, {gigabytes:.2f} GB", flush=True)
    table = pd.DataFrame(rows, columns=["stage", "images", "seconds", "gigabytes"])
    TABLE.parent.mkdir(exist_ok=True)
    table.to_csv(TABLE, index=False, float_format="%.3g", lineterminator="\n")
    wide = table.pivot(index="stage", columns="images", values=["seconds", "gigabytes"]).loc[GROWING]
    print(wide.to_string(float_format="%.2f"))
    plot(table)


if __name__ == "__main__":
    main()
