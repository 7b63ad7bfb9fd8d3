"""The same bytes on every x86-64 processor with AVX2: libraries are kept from using what only some processors have.

NumPy, OpenBLAS, OpenCV and FAISS choose other instructions, and so another order of sums, on a processor with AVX-512
than on one without, or on Intel's than on AMD's. They read the environment when they are imported. So every script
imports this module before all others. TensorFlow and LiteRT follow `portable` as well: faces/network/runtime.py and
faces/inference/embedder.py. docs/guarantees.md has what was measured.
"""

import os
from pathlib import Path

from faces.core.errors import StageError
from faces.core.terminal import warn
from faces.core.threads import load_runtime

PROCESSOR = Path("/proc/cpuinfo")
SETTINGS = {
    "OPENBLAS_CORETYPE": "Haswell",  # matrix products of NumPy, SciPy and FAISS: kernels of one kind of processor
    "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL",  # NumPy: exp, sin
    "FAISS_SIMD_LEVEL": "AVX2",  # distances
    "OPENCV_IPP": "disabled",  # Intel's loops in OpenCV, of which there are some for each kind of processor
    "OPENCV_LOG_LEVEL": "ERROR",  # or OpenCV says each time that they are off
}


def portable() -> bool:
    """Return whether results must not depend on the processor: `runtime.portable`, on a processor that can do it.

    False where params.yaml cannot be read, which a stage itself reports.
    """
    return _wanted() and has_avx2()


def has_avx2() -> bool:
    """Return whether this is an x86-64 processor with AVX2 and FMA, as Linux says."""
    try:
        lines = PROCESSOR.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "").split()  # on ARM they are named otherwise
    return {"avx2", "fma"} <= set(flags)


def warn_of_processor() -> None:
    """Warn if `runtime.portable` asks for what this processor cannot do."""
    if _wanted() and not has_avx2():
        warn(
            "params.yaml: runtime.portable: this is no x86-64 processor with AVX2, so that results may differ in their "
            "last digits, and then in all, from those of other processors"
        )


def _wanted() -> bool:
    try:
        return load_runtime().portable
    except StageError:
        return False


if portable():
    os.environ.update(SETTINGS)
