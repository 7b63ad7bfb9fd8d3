"""Run benchmarks and print their tables: all of them, or those named.

Run     python -m benchmarks [name …]

Every table is of ways that ran in turn in this very run. Ratios are medians over rounds, with the least and the most.
A way whose library is not installed is left out, and the table says so.
"""

import argparse
import os
import platform
import sys

NAMES = (
    "training_step",
    "embedding",
    "input_pipeline",
    "search",
    "comparisons",
    "pairs",
    "packing",
    "similarity",
    "many_identities",
    "repro",
)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join(NAMES)}; all by default")
    names = parser.parse_args().names or NAMES
    if unknown := set(names) - set(NAMES):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}")
    for name in names:
        # A process each: TensorFlow's threads and another library's would otherwise share the cores.
        if os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-m", f"benchmarks.{name}"]):
            sys.exit(f"{name} failed")


if __name__ == "__main__":
    main()
