"""The ArcFace head on 10,575 to 1,000,000 classes, whole and sampled: memory, and seconds a step.

Only the head, on embeddings of 512 numbers in batches of 64: the backbone takes the same for any number of classes.
Each case runs in its own process, so that its peak of memory can be read; a case that needs more memory than is free
gets only the number by formula.
"""

import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

SIZE, BATCH, STEPS = 512, 64, 5
CASES = [(10_575, 1.0), (10_575, 0.1), (100_000, 1.0), (100_000, 0.1), (1_000_000, 1.0), (1_000_000, 0.1)]
ARRAYS = 6  # of classes x size float32: directions, momentum, gradient, unit directions, and two temporary ones
BASE = 0.6  # GB that TensorFlow itself takes


def computed_gigabytes(classes: int, rate: float) -> float:
    """Return the memory by formula: arrays of the sampled classes in the model, and two of all outside it."""
    outside = 2 * classes if rate < 1 else 0
    return BASE + (ARRAYS * classes * rate + outside) * SIZE * 4 / 1e9


def free_gigabytes() -> float:
    """Return the memory that is available without swapping."""
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 1e6


def measure(classes: int, rate: float) -> None:
    """Run some steps and print seconds a step and peak gigabytes."""
    import numpy as np

    from faces.network import runtime
    from faces.training.arcface import ArcFaceLoss, CosineHead
    from faces.training.partial_fc import SampledDirections

    runtime.start(2)
    keras = runtime.keras
    head = CosineHead(max(BATCH, round(rate * classes)))
    model = keras.Sequential([keras.Input((SIZE,)), head])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.5), ArcFaceLoss(16.0, 0.3))
    model.optimizer.build(model.trainable_variables)
    sampled = SampledDirections(classes, head, model.optimizer, 0) if rate < 1 else None
    random, seconds = np.random.default_rng(0), []
    for step in range(STEPS + 1):
        embeddings = random.standard_normal((BATCH, SIZE)).astype(np.float32)
        labels = random.integers(0, classes, BATCH)
        began = time.perf_counter()
        if sampled:
            labels = sampled.draw(labels, (0, step))
        model.train_on_batch(embeddings, labels)
        if sampled:
            sampled.put_back()
        seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{median(seconds[1:]):.3g} | {peak:.2g}")


def main() -> None:
    """Print the table."""
    print("\nArcFace head, embeddings of 512, batch 64\n")
    print("| classes | sample rate | seconds a step | peak GB | GB by formula |\n|---|---|---|---|---|")
    for classes, rate in CASES:
        need = computed_gigabytes(classes, rate)
        measured = "not run: too large for this machine | "
        if need < free_gigabytes():
            command = [sys.executable, "-m", "benchmarks.many_identities", str(classes), str(rate)]
            measured = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        print(f"| {classes:,} | {rate} | {measured} | {need:.2g} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(int(sys.argv[1]), float(sys.argv[2]))
    else:
        main()
