"""Start TensorFlow: quiet, with a fixed number of threads, and so that the same run gives the same bytes.

Neither a home folder nor the environment changes what is computed.

Import this module before anything that imports TensorFlow or Keras.
"""

from faces.core.portable import portable

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from faces.core.quiet import quiet_stderr
from faces.core.terminal import warn

# Beginnings of variables by which an environment changes what a stage computes from the same params.yaml.
CHANGE_RESULTS = (
    "KERAS_",
    "ONEDNN_",
    "DNNL_",
    "TF_ENABLE_ONEDNN",
    "TF_ONEDNN",
    "TF_XLA_FLAGS",
    "TF_CUDNN",
    "NVIDIA_TF32",
)
SETTINGS = {"KERAS_BACKEND": "tensorflow", "KERAS_HOME": os.devnull}  # no keras.json is read or written
PORTABLE = {  # besides, where results must not depend on the processor
    "TF_ENABLE_ONEDNN_OPTS": "1",  # by itself, TensorFlow has oneDNN's kernels on newer processors only
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # and oneDNN has others for AVX-512
}


def clean_environment() -> None:
    """Take what changes results out of the environment, with a warning, and set `SETTINGS`, and `PORTABLE` if asked."""
    settings = SETTINGS | (PORTABLE if portable() else {})
    strange = [
        name for name, value in os.environ.items() if name.startswith(CHANGE_RESULTS) and settings.get(name) != value
    ]
    for name in strange:
        del os.environ[name]
    if strange:
        warn(f"ignored, since only params.yaml may change results: {', '.join(sorted(strange))} in the environment")
    os.environ.update(settings)


clean_environment()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # notes on CPU features; errors still show
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")  # keeps large buffers instead of returning them to the OS

# What Keras imports, if it is there, for functions that nothing here calls. matplotlib would also fail where the user's
# backend is not installed.
NOT_NEEDED = ("matplotlib", "pydot", "sklearn")


@contextmanager
def quick_import() -> Iterator[None]:
    """Halve the seconds that Keras takes to import: without `NOT_NEEDED`, and without a search for garbage."""
    hidden = [name for name in NOT_NEEDED if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # an import raises ImportError
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        for name in hidden:
            del sys.modules[name]


with quiet_stderr(), quick_import():  # TensorFlow writes to stderr before it reads any log level
    import keras
    import tensorflow as tf


def start(
    threads: int,
    seed: int = 0,
    jit_compile: bool = False,
    make_strategy: Callable[[], Any] = tf.distribute.get_strategy,
    devices: int = 1,
) -> Any:
    """Fix what makes two runs differ: thread count (it decides how sums are split), choice of ops, random state.

    Call it once, before the first tensor is made: TensorFlow refuses a second, different thread count. Return the
    `tf.distribute` strategy that `make_strategy` makes, after the thread count and before the first tensor.

    `devices` parts of the CPU that work at the same time get equally many of the threads, at least one each.

    Pass `jit_compile` if XLA is to compile a model: Keras compiles nothing while TensorFlow's op determinism is on, and
    XLA has a switch of its own.
    """
    if jit_compile:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true"
    else:
        tf.config.experimental.enable_op_determinism()
    tf.config.threading.set_intra_op_parallelism_threads(max(1, threads // devices))
    tf.config.threading.set_inter_op_parallelism_threads(devices)
    with quiet_stderr():
        strategy = make_strategy()
    keras.utils.set_random_seed(seed)
    find_devices()
    return strategy


def find_devices() -> None:
    """Have TensorFlow look for GPUs now, with its complaint held back if it finds none."""
    with quiet_stderr():
        tf.config.list_logical_devices()
