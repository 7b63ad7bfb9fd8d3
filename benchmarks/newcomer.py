"""What a newcomer waits for: set-up, the default run, the tests and what CI runs, in a fresh clone of the last commit.

Run     python -m benchmarks.newcomer [setup repro test ci]     # all four without an argument
Prints  seconds, processor seconds, the most memory of all processes at one time, and the size of the folder afterwards

Each step begins where the one before ended, so `repro` does not set up again. PyPI's files may be in uv's cache.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import psutil

COMMANDS = {"setup": ["make", "setup"], "repro": ["make", "repro"], "test": ["make", "test"], "ci": [".ci/run"]}
SAMPLE_SECONDS = 1.0  # to sum up the pages of a process takes the kernel 10 ms, in which the process waits


class Cost(NamedTuple):
    """What a command took: wall seconds, seconds of all cores, bytes of memory at the peak."""

    seconds: float
    processor_seconds: float
    peak_bytes: int


def memory_of_tree(process: psutil.Process) -> int:
    """Return the memory of a process and all that it started, in bytes; pages that several share count once each."""
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            memory = member.memory_full_info()
        except psutil.Error:  # it has just ended
            continue
        total += memory.pss
    return total


def measure(command: list[str], folder: Path, log: Path) -> Cost:
    """Run a command in a folder; end the benchmark with its output if it fails."""
    environment = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "MAKEFLAGS")}
    before, began, peak = os.times(), time.perf_counter(), 0
    with open(log, "wb") as output:
        started = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        ended = threading.Event()

        def sample() -> None:
            nonlocal peak
            process = psutil.Process(started.pid)
            while not ended.wait(SAMPLE_SECONDS):
                try:
                    peak = max(peak, memory_of_tree(process))
                except psutil.Error:
                    return

        sampler = threading.Thread(target=sample)
        sampler.start()
        code = started.wait()
        ended.set()
        sampler.join()
    after = os.times()
    if code:
        sys.exit(f"{' '.join(command)} failed:\n{log.read_text(encoding='utf-8', errors='replace')[-4000:]}")
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(time.perf_counter() - began, used, peak)


def folder_bytes(folder: Path) -> int:
    """Return the size of a folder on disk; a file with several links counts once."""
    return int(subprocess.check_output(["du", "--summarize", "--block-size=1", folder], text=True).split()[0])


def processor() -> str:
    """Return the name of the processor, its cores, and the widest vectors that it knows."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    name = next(line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name"))
    vectors = next((label for flag, label in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in text), "no AVX2")
    return f"{name}, {os.cpu_count()} cores, {vectors}; {os.getloadavg()[0]:.1f} processes running before"


def main() -> None:
    """Print the table."""
    steps = sys.argv[1:] or list(COMMANDS)
    if unknown := set(steps) - COMMANDS.keys():
        sys.exit(f"{', '.join(sorted(unknown))}: the steps are {', '.join(COMMANDS)}")
    print(f"\n{processor()}\n")
    print("| | seconds | processor seconds | GB of memory | GB on disk after |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        clone = Path(temporary, "clone")
        subprocess.run(["git", "clone", "--quiet", Path.cwd(), clone], check=True)
        for step in steps:
            cost = measure(COMMANDS[step], clone, Path(temporary, "log.txt"))
            figures = f"{cost.seconds:.0f} | {cost.processor_seconds:.0f} | {cost.peak_bytes / 1e9:.1f}"
            print(f"| `{' '.join(COMMANDS[step])}` | {figures} | {folder_bytes(clone) / 1e9:.1f} |", flush=True)


if __name__ == "__main__":
    main()
