"""ONNX Runtime opens an ONNX model: the exported network, or a teacher."""

from pathlib import Path
from typing import Any


def onnx_session(model: bytes | Path, threads: int) -> Any:
    """Return ONNX Runtime's session for a model, its content or its file, on the CPU with so many threads.

    For what is no ONNX model, ONNX Runtime raises errors of many kinds.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors; it warns of constants that no node needs
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
