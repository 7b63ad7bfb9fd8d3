"""Several devices that share each training batch, and several processes that train together.

One process, `train.devices` devices of its machine: `tf.distribute.MirroredStrategy` copies the network to each.
Several processes, on one machine or many: whoever starts them gives each a TF_CONFIG, as TensorFlow has it, and
`tf.distribute.MultiWorkerMirroredStrategy` joins them. In every step each device works on its share of the batch, and
all copies change by the sum of all gradients.

Worker 0 is the chief. It alone reads checkpoints, validates and writes, and broadcasts what the others need to know.

Keras 3's `fit` runs under MirroredStrategy but not under MultiWorkerMirroredStrategy, whose batches it takes for
tensors; this project's own step (training_step.py) runs under both. Keras's `distribution` API is for JAX.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from faces.core.errors import StageError
from faces.core.params import Params
from faces.training.batches import BatchSize

# https://www.tensorflow.org/guide/distributed_training#setting_up_the_tf_config_environment_variable
TF_CONFIG = "TF_CONFIG"


@dataclass(frozen=True)
class Worker:
    """One of the processes that train together: its index, and the number of all."""

    index: int = 0
    count: int = 1

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the outputs."""
        return self.index == 0


ALONE = Worker()


def this_worker() -> Worker:
    """Return this process as TF_CONFIG describes it, or ALONE without one; StageError if it makes no sense."""
    text = os.environ.get(TF_CONFIG)
    if not text:
        return ALONE
    try:
        config = json.loads(text)
        workers, task = config["cluster"]["worker"], config["task"]
        if set(config["cluster"]) != {"worker"} or task["type"] != "worker" or not 0 <= task["index"] < len(workers):
            raise ValueError
        return Worker(int(task["index"]), len(workers))
    except (ValueError, TypeError, KeyError):
        raise StageError(
            f'{TF_CONFIG}: {text[:200]!r}: should be {{"cluster": {{"worker": ["host:port", …]}}, "task": '
            '{"type": "worker", "index": 0}}, with another index for each process'
        ) from None


class SharingParams(Params):
    """Parameters that decide how devices share a batch, part of the section `train:`."""

    batch_size: BatchSize
    devices: int = Field(ge=0, le=1024)
    batch_norm: Literal["synchronized", "local"]
    precision: Literal["float32", "float64", "mixed_bfloat16", "mixed_float16"]
    jit_compile: bool

    @model_validator(mode="after")
    def _can_be_shared(self) -> "SharingParams":
        if problem := _sharing_problem(self, processes=1):
            raise ValueError(problem)
        return self


def check_sharing(params: SharingParams, worker: Worker) -> None:
    """Raise StageError if the devices of all processes cannot share a batch with these parameters."""
    if problem := _sharing_problem(params, worker.count):
        raise StageError(f"params.yaml: train: {problem}")


def _sharing_problem(params: SharingParams, processes: int) -> str:
    """Return what is wrong, or "". `devices: 0` counts as one here; check_batch has the number of all GPUs."""
    devices = processes * max(1, params.devices)
    if params.batch_size % devices:
        return f"batch_size {params.batch_size} should be a multiple of devices * processes, {devices}"
    if params.precision == "mixed_float16" and devices > 1:
        return "precision mixed_float16 is for one device; several can have mixed_bfloat16"
    if params.jit_compile and (params.devices, processes) != (1, 1):
        return "jit_compile is for one device: XLA does not compile a step that several share"
    return ""


def check_batch(batch: int, devices: int) -> None:
    """Raise StageError unless the devices can have equal shares of a batch."""
    if batch % devices:
        raise StageError(f"params.yaml: train.batch_size: {batch}: {devices} devices in all cannot share it equally")


class Devices:
    """The devices of all processes that train together; every process has equally many."""

    def __init__(self, strategy: Any, worker: Worker) -> None:
        """Take the result of `make_strategy`, and which process this is."""
        self.strategy, self.worker = strategy, worker
        self.count: int = strategy.num_replicas_in_sync
        self.own_count: int = self.count // worker.count

    def share(self, images: int) -> slice:
        """Return the rows of a batch that this process works on; `count` must divide the size of the batch."""
        size = images // self.worker.count
        return slice(self.worker.index * size, (self.worker.index + 1) * size)

    def spread(self, array: NDArray[Any]) -> Any:
        """Return the rows of this process's share, split over its devices."""
        if self.count == 1:
            return array
        parts = np.split(array, self.own_count)
        return self._per_device(lambda device: parts[device])

    def broadcast(self, value: Any) -> Any:
        """Return the chief's `value`, anything that JSON can hold. All processes must call this; each waits for all."""
        if self.worker.count == 1:
            return value
        content = np.frombuffer(json.dumps(value).encode(), np.uint8).astype(np.int32)
        size = int(self.broadcast_array(np.array([len(content)], np.int32))[0])
        content = np.resize(content, size)  # in all but the chief, only its size counts
        return json.loads(self.broadcast_array(content).astype(np.uint8).tobytes())

    def broadcast_array(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the chief's `array`; the others pass any array of the same shape and type."""
        if self.worker.count == 1:
            return array
        zeros = np.zeros_like(array)
        values = self._per_device(lambda device: array if self.worker.is_chief and device == 0 else zeros)
        return np.asarray(self.strategy.reduce("SUM", values, axis=None))

    def _per_device(self, value: Callable[[int], NDArray[Any]]) -> Any:
        import tensorflow as tf

        return self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(value(context.replica_id_in_sync_group % self.own_count))
        )


def choose_gpus(gpus: list[Any], devices: int) -> list[Any]:
    """Return the first `devices` GPUs, or all if that is 0; StageError if there are some, but too few.

    Processes that share a machine each need GPUs of their own, by CUDA_VISIBLE_DEVICES.
    """
    if gpus and devices > len(gpus):
        raise StageError(f"params.yaml: train.devices: {devices}: this machine has {len(gpus)} GPU(s)")
    return gpus[: devices or len(gpus)]


def make_strategy(devices: int, worker: Worker) -> Any:
    """Return the `tf.distribute` strategy of a training; call it before TensorFlow has initialised its devices.

    `devices` counts those of each process: GPUs or, without GPUs and in a process alone, parts of the CPU. 0 stands for
    all GPUs, or for one device without GPUs. StageError if there are fewer.
    """
    import tensorflow as tf

    gpus = choose_gpus(tf.config.list_physical_devices("GPU"), devices)
    count = len(gpus) or max(1, devices)
    if not gpus and count > 1 and worker.count > 1:
        raise StageError(
            f"params.yaml: train.devices: {devices}: without GPUs, each of several processes is one device"
        )
    if not gpus and count > 1:
        (processor,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * count)
    if gpus:
        tf.config.set_visible_devices(gpus, "GPU")
    if worker.count > 1:
        return tf.distribute.MultiWorkerMirroredStrategy()
    if count > 1:
        kind = "GPU" if gpus else "CPU"
        return tf.distribute.MirroredStrategy([f"{kind}:{number}" for number in range(count)])
    return tf.distribute.get_strategy()


def check_same_work(devices: Devices, fingerprint: str) -> None:
    """Raise StageError in a process with another `fingerprint` of all that a training depends on than the chief."""
    if devices.broadcast(fingerprint) != fingerprint:
        raise StageError(
            f"process {devices.worker.index} has other parameters, code, libraries or data than process 0; they must "
            "be the same, data/split.csv and data/packed among them"
        )


@contextmanager
def lost_worker_reported(worker: Worker) -> Iterator[None]:
    """Turn the errors by which TensorFlow reports that another process is gone into StageError."""
    if worker.count == 1:
        yield
        return
    from faces.network.runtime import tf

    errors = tf.errors
    try:
        yield
    except (errors.UnavailableError, errors.AbortedError, errors.InternalError, errors.CancelledError) as error:
        raise lost_worker(error) from None


def lost_worker(error: Exception) -> StageError:
    """Return the error for a process that is gone, from TensorFlow's."""
    reason = " ".join(str(error).split())[:300]
    return StageError(
        "a process that shares the training is gone or cannot be reached; start all of them again, and training goes "
        f"on after its last finished epoch ({type(error).__name__}: {reason})"
    )
