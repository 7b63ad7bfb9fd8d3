"""Training that several devices share: who they are, and how they agree.

On one machine `tf.distribute.MirroredStrategy` copies the network to every device; several processes, on one machine or
many, are joined by `tf.distribute.MultiWorkerMirroredStrategy`. In every step each device works on its share of the
batch, and the sum of all gradients changes all copies alike.

Keras 3's own `fit` runs under the former and fails under the latter, whose batches it takes for tensors; a step of
one's own (faces/training/training_step.py) runs under both. Keras's `distribution` API is for JAX.

Process 0 leads: it alone reads checkpoints and measures, and tells the others; it alone writes. Without TF_CONFIG in
the environment, it starts the others itself, and a process that ends all of them when one is lost (watch.py).
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from faces.core.errors import StageError
from faces.core.terminal import say
from faces.training import watch

TF_CONFIG = (
    "TF_CONFIG"  # https://www.tensorflow.org/guide/distributed_training#setting_up_the_tf_config_environment_variable
)
DONE_PIPE = "FACES_DONE_PIPE"  # in a process that another has started: a pipe to write a byte to when all is done
END_SECONDS = 60.0  # that others get to end once the leader has


class Place(NamedTuple):
    """Which of the processes that train together this one is; the first leads."""

    number: int = 0
    processes: int = 1
    number_here: int = 0  # among those that were started on this machine together
    processes_here: int = 1

    @property
    def leads(self) -> bool:
        """Return whether this process writes what they make."""
        return self.number == 0


def own_place() -> Place:
    """Return what TF_CONFIG says, or that this process is alone; StageError if it makes no sense."""
    text = os.environ.get(TF_CONFIG)
    if not text:
        return Place()
    try:
        config = json.loads(text)
        workers, task = config["cluster"]["worker"], config["task"]
        if set(config["cluster"]) != {"worker"} or task["type"] != "worker" or not 0 <= task["index"] < len(workers):
            raise ValueError
        place = Place(int(task["index"]), len(workers))
    except (ValueError, TypeError, KeyError):
        raise StageError(
            f'{TF_CONFIG}: {text[:200]!r}: should be {{"cluster": {{"worker": ["host:port", …]}}, "task": '
            '{"type": "worker", "index": 0}}, with another index for each process'
        ) from None
    return Place(*place[:2], *place[:2]) if DONE_PIPE in os.environ else place


@contextmanager
def joined(processes: int) -> Iterator[Place]:
    """Be one of `processes` processes that train together: those of TF_CONFIG, or others that are started here."""
    if processes == 1 or TF_CONFIG in os.environ:
        place = own_place()
        if place.processes != processes:
            raise StageError(
                f"params.yaml: train.processes: {processes}: {TF_CONFIG} has {place.processes} in its cluster"
            )
        yield place
        if DONE_PIPE in os.environ:
            os.write(int(os.environ[DONE_PIPE]), b".")
        return
    cluster = {"worker": [f"localhost:{port}" for port in _free_ports(processes)]}
    configs = [
        json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}) for index in range(processes)
    ]
    with ExitStack() as stack:
        others = [stack.enter_context(_Other(index, configs[index])) for index in range(1, processes)]
        stack.enter_context(_watched(others))
        os.environ[TF_CONFIG] = configs[0]
        try:
            yield Place(0, processes, 0, processes)
            for other in others:
                other.wait()
        finally:
            del os.environ[TF_CONFIG]


@contextmanager
def _watched(others: "list[_Other]") -> Iterator[None]:
    """Have a process that ends this one if one of the others is lost, and them when this one ends, however it does."""
    leader, own_end = os.pipe()
    pairs = [f"{other.process.pid}:{other.pipe}" for other in others]
    command = [sys.executable, watch.__file__, str(os.getpid()), str(leader), *pairs]
    pipes = [other.pipe for other in others]
    watcher = subprocess.Popen(command, pass_fds=[leader, *pipes], stdin=subprocess.DEVNULL, start_new_session=True)
    for pipe in (leader, *pipes):
        os.close(pipe)
    try:
        yield
    finally:
        os.close(own_end)
        watcher.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("localhost", 0))
        return [one.getsockname()[1] for one in sockets]


class _Other:
    """Another process of this stage; if it ends before its time, so does this one."""

    def __init__(self, index: int, config: str) -> None:
        self._index = index
        self._expected = False
        self._log: IO[bytes] = tempfile.TemporaryFile()
        self.pipe, end = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, sys.argv[0]],
            env=os.environ | {TF_CONFIG: config, DONE_PIPE: str(end)},
            pass_fds=[end],
            stdin=subprocess.DEVNULL,
            stderr=self._log,
            start_new_session=True,  # Ctrl-C is for the leader
        )
        os.close(end)
        threading.Thread(target=self._watch, daemon=True).start()

    def __enter__(self) -> "_Other":
        return self

    def wait(self) -> None:
        """Let it end by itself."""
        self._expected = True
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            say(f"process {self._index} has not ended and is stopped")

    def __exit__(self, *_: object) -> None:
        self._expected = True
        self.process.kill()
        self.process.wait()
        self._log.close()

    def _watch(self) -> None:
        code = self.process.wait()
        if self._expected or code == 0:
            return
        how = f"by signal {-code}" if code < 0 else f"with code {code}"
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").splitlines()
        for line in [line for line in lines if line.startswith("error: ")] or lines[-3:] * (code > 0):
            say(f"process {self._index}: {line}")
        say(
            f"error: process {self._index} of those that train together ended {how}; run again, and training goes on "
            "after its last finished epoch"
        )
        sys.stderr.flush()
        os._exit(1)  # the main thread may wait for the lost process in TensorFlow, where no exception reaches it


class Devices:
    """The devices of all processes that train together, each of which has as many."""

    def __init__(self, strategy: Any, place: Place) -> None:
        """Take what `make_strategy` made, and which process this is."""
        self.strategy, self.place = strategy, place
        self.count: int = strategy.num_replicas_in_sync
        self.own: int = self.count // place.processes

    def share(self, images: int) -> slice:
        """Return which of the images of a batch this process works on; `count` must divide their number."""
        size = images // self.place.processes
        return slice(self.place.number * size, (self.place.number + 1) * size)

    def spread(self, array: NDArray[Any]) -> Any:
        """Return the rows of this process's share, dealt out to its devices in turn."""
        if self.count == 1:
            return array
        parts = np.split(array, self.own)
        return self._values(lambda device: parts[device])

    def agree(self, value: Any) -> Any:
        """Return the leader's `value`, which JSON can hold; all processes call this at the same time."""
        if self.place.processes == 1:
            return value
        content = np.frombuffer(json.dumps(value).encode(), np.uint8).astype(np.int32)
        size = int(self.from_leader(np.array([len(content)], np.int32))[0])
        content = np.resize(content, size)  # of others, only its size counts
        return json.loads(self.from_leader(content).astype(np.uint8).tobytes())

    def from_leader(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the leader's `array`; those of others have its shape and type, and may hold anything."""
        if self.place.processes == 1:
            return array
        zeros = np.zeros_like(array)
        values = self._values(lambda device: array if self.place.leads and device == 0 else zeros)
        return np.asarray(self.strategy.reduce("SUM", values, axis=None))

    def _values(self, of_device: Callable[[int], NDArray[Any]]) -> Any:
        import tensorflow as tf

        return self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(of_device(context.replica_id_in_sync_group % self.own))
        )


def own_gpus(gpus: list[Any], devices: int, place: Place) -> list[Any]:
    """Return which GPUs of this machine are this process's: `devices` of them, or an equal part of all if that is 0.

    StageError if there are too few for the processes that share the machine.
    """
    count = devices or len(gpus) // place.processes_here
    if gpus and (count == 0 or count * place.processes_here > len(gpus)):
        raise StageError(
            f"params.yaml: train.devices: {devices}: this machine has {len(gpus)} GPU(s) for "
            f"{place.processes_here} process(es)"
        )
    return gpus[place.number_here * count :][:count]


def make_strategy(devices: int, place: Place) -> Any:
    """Return what shares a step; to be called before TensorFlow has started its devices.

    `devices` are those of each process: GPUs or, where there are none and no other process, parts of the processor; 0
    stands for all GPUs, and for one device where there are none. StageError if there are fewer.
    """
    import tensorflow as tf

    gpus = own_gpus(tf.config.list_physical_devices("GPU"), devices, place)
    count = len(gpus) or max(1, devices)
    if not gpus and count > 1 and place.processes > 1:
        raise StageError(
            f"params.yaml: train.devices: {devices}: without GPUs, each of several processes is one device"
        )
    if not gpus and count > 1:
        (processor,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * count)
    if gpus:
        tf.config.set_visible_devices(gpus, "GPU")
    if place.processes > 1:
        return tf.distribute.MultiWorkerMirroredStrategy()
    if count > 1:
        kind = "GPU" if gpus else "CPU"
        return tf.distribute.MirroredStrategy([f"{kind}:{number}" for number in range(count)])
    return tf.distribute.get_strategy()


def check_batch(batch: int, devices: int, what: str) -> None:
    """Raise StageError unless so many devices can have equal shares of a batch."""
    if batch % devices:
        raise StageError(f"params.yaml: {what}: {devices} devices in all cannot share it equally")


def lost_a_process(error: Exception) -> StageError:
    """Return what to say when TensorFlow finds that another process is gone."""
    reason = " ".join(str(error).split())[:300]
    return StageError(
        "a process that shares the training is gone or cannot be reached; start all of them again, and training goes "
        f"on after its last finished epoch ({type(error).__name__}: {reason})"
    )


def same_everywhere(devices: Devices, digest: str) -> None:
    """Raise StageError in a process whose `digest`, of all that a training depends on, is not the leader's."""
    if devices.agree(digest) != digest:
        raise StageError(
            f"process {devices.place.number} has other parameters, code, libraries or data than process 0; they must "
            "be the same, data/split.csv and data/packed among them"
        )
