"""Starting TensorFlow: quiet, with a fixed number of threads, and the same bytes from the same run.

Import this module before anything that imports TensorFlow or Keras.
"""

import os
from collections.abc import Callable
from typing import Any

from faces.core.quiet import quiet_stderr

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # notes on CPU features; errors still show
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")  # keeps large buffers instead of returning them to the OS
os.environ["KERAS_BACKEND"] = "tensorflow"


with quiet_stderr():  # TensorFlow greets on stderr before any log level is read
    import keras
    import tensorflow as tf


def start(
    threads: int, seed: int = 0, compiled: bool = False, make_strategy: Callable[[], Any] = tf.distribute.get_strategy
) -> Any:
    """Fix what would make two runs differ: thread count (sums are split by it), op choice and random state.

    Call once, before the first tensor is made; TensorFlow refuses a second, different thread count. Models that XLA is
    to compile need `compiled`: Keras compiles nothing where TensorFlow is told to choose repeatable ops, and XLA has a
    switch of its own. Returns what `make_strategy` does, which sets up the devices that share a training.
    """
    if compiled:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true"
    else:
        tf.config.experimental.enable_op_determinism()
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    with quiet_stderr():
        strategy = make_strategy()
    keras.utils.set_random_seed(seed)
    find_devices()
    return strategy


def find_devices() -> None:
    """Let TensorFlow look for GPUs now: where there are none it complains, which is held back here."""
    with quiet_stderr():
        tf.config.list_logical_devices()
