"""`dvc repro` with nothing to do, and after a change of `evaluate` alone, against DVC's own floor."""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.timing import alternate

ROUNDS = 5


def dvc(folder: Path, *arguments: str) -> None:
    """Run a DVC command in a folder; its output shows if it fails."""
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)


def empty_project(folder: Path) -> Path:
    """Return a project of one stage that has run and does nothing."""
    folder.mkdir()
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    dvc(folder, "init", "--quiet")
    dvc(folder, "stage", "add", "--quiet", "--name", "nothing", "--outs", "nothing.txt", "touch nothing.txt")
    dvc(folder, "repro", "--quiet")
    return folder


def finished_project(folder: Path) -> Path:
    """Return a clone of this project, with every output of its last run out of the cache."""
    subprocess.run(["git", "clone", "--quiet", Path.cwd(), folder], check=True)
    dvc(folder, "cache", "dir", "--local", str(Path(".dvc/cache").resolve()))
    dvc(folder, "checkout")
    return folder


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as temporary:
        empty, project = empty_project(Path(temporary, "empty")), finished_project(Path(temporary, "project"))
        draws = iter(range(1001, 2000))
        params = project / "params.yaml"
        original = params.read_text(encoding="utf-8")

        def unchanged() -> None:
            params.write_text(original, encoding="utf-8")
            dvc(project, "repro")

        def changed() -> None:  # to a value that never was, or DVC's run cache would answer
            text, replaced = re.subn(r"bootstrap: \d+", f"bootstrap: {next(draws)}", original)
            assert replaced == 1
            params.write_text(text, encoding="utf-8")
            dvc(project, "repro")

        ways = {"floor: one stage, nothing to do": lambda: dvc(empty, "repro"), "nothing to do": unchanged}
        unchanged()
        seconds = alternate(ways | {"evaluate changed": changed}, ROUNDS)
        shutil.rmtree(project)
    print("\n`dvc repro`\n\n| | seconds | above the floor |\n|---|---|---|")
    floor = median(seconds["floor: one stage, nothing to do"])
    for name, times in seconds.items():
        print(f"| {name} | {median(times):.2f} | {median(times) - floor:.2f} |")


if __name__ == "__main__":
    main()
