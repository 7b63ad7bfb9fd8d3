"""A trial of an index in a process of its own: FAISS crashes on some strings (`HNSW1`) and fills memory on others.

Run     python stages/faces/search/trial.py <factory string> <parameters> <dimensions>, by `try_index`
"""

import re
import subprocess
import sys
from pathlib import Path

VECTORS = 300  # enough to train an IVF or PQ of 256; more is found out by the stage
MAX_BYTES = 16 * 2**30  # of address space, of which FAISS's threads reserve much
SECONDS = 120  # a trial takes one, of which most is the import of FAISS
FAILED = 3  # exit code, with a message on stdout


def try_index(factory: str, parameters: str, dimensions: int) -> str:
    """Return what is wrong with an index of vectors of `dimensions` numbers; "" if it can be built and searched."""
    for parameter in filter(None, parameters.split(",")):
        if not re.fullmatch(r"[A-Za-z_]+=[0-9]+(\.[0-9]+)?", parameter) or re.fullmatch(r"nprobe=0+(\.0+)?", parameter):
            return f"{parameter!r} should be <name>=<number>, and nprobe 1 or more"
    command = [sys.executable, "-P", str(Path(__file__)), factory, parameters, str(dimensions)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return f"FAISS takes more than {SECONDS} seconds for {VECTORS} vectors"
    if done.returncode == FAILED:
        return f"FAISS says {done.stdout.decode('utf-8', 'replace').strip()}"
    if done.returncode:
        return f"FAISS crashes on it (exit code {done.returncode})"
    return ""


def _try(factory: str, parameters: str, dimensions: int) -> None:
    """Build an index of a few vectors and search it; raise whatever FAISS raises."""
    import resource

    import faiss
    import numpy as np

    faiss.omp_set_num_threads(1)  # several would wait for each other longer than they work
    resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    whole = faiss.index_factory(dimensions, factory, faiss.METRIC_INNER_PRODUCT)
    if parameters:
        faiss.ParameterSpace().set_index_parameters(whole, parameters)  # type: ignore[arg-type]
    # Codes are not tried: learning them takes minutes, and what crashes are graphs, alone or over cells.
    without_codes = re.sub(r",[A-Z]*(PQ|RQ|LSQ)[^,]*", ",Flat", factory)
    index = faiss.index_factory(dimensions, without_codes, faiss.METRIC_INNER_PRODUCT)
    if re.match("P?(PQ|RQ|LSQ)", factory):
        return
    vectors = np.random.default_rng(0).normal(size=(VECTORS, dimensions)).astype(np.float32)
    try:
        index.train(vectors)
    except RuntimeError:  # too few vectors for it, which the stage's own may be enough for
        return
    index.add(vectors)
    index.search(vectors[:2], 3)


def main() -> None:
    """Try the index that the command line describes; print what is wrong."""
    factory, parameters, dimensions = sys.argv[1:]
    try:
        _try(factory, parameters, int(dimensions))
    except (RuntimeError, AssertionError, MemoryError) as error:
        words = re.sub(r"^Error in .*? at \S+:\d+: (Error: |\S+::\w+:)?", "", " ".join(str(error).split()))
        print(words[:200] or "it needs too much memory")
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
