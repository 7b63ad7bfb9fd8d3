"""One training step, by one device or by several that share the batch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.network.runtime import tf
from faces.training.distribution import Devices


class TrainingStep:
    """Changes the weights of a model by the gradient of a batch's mean loss, and returns loss and accuracy.

    Each device adds up the losses of its images, divided by the images of the whole batch, and its share of the
    regularisation; the optimizer sums gradients over devices. So with synchronized batch norm, the number of devices
    changes nothing but rounding. With local batch norm each device normalises by its own share, and the moving
    statistics are the means over all devices.

    Args:
        model: Keras model with an optimizer, (N, …) -> (N, classes).
        loss: Keras loss; its `call` returns the loss of each image, (N,).
        devices: The devices that share a batch.
        jit_compile: Whether XLA compiles the step.
        synchronized: Whether the model's batch norm is synchronized.
    """

    def __init__(self, model: Any, loss: Any, devices: Devices, jit_compile: bool, synchronized: bool) -> None:  # noqa: D107
        self._model, self._loss, self._devices = model, loss, devices
        self._local_statistics = devices.count > 1 and not synchronized
        on_device = tf.function(self._on_device, jit_compile=True) if jit_compile else self._on_device
        self._on_all = tf.function(lambda images, labels: self._sum(devices.strategy.run(on_device, (images, labels))))

    def __call__(self, images: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, float]:
        """Do a step on this process's share of a batch: images (n, …), labels (n,)."""
        loss, accuracy = self._on_all(self._devices.spread(images), self._devices.spread(labels))
        return {"loss": float(loss), "accuracy": float(accuracy)}

    def _sum(self, metrics: Any) -> Any:
        if self._devices.count == 1:
            return metrics
        return [self._devices.strategy.reduce("SUM", metric, axis=None) for metric in metrics]

    def _on_device(self, images: Any, labels: Any) -> Any:
        model, optimizer, devices = self._model, self._model.optimizer, self._devices.count
        with tf.GradientTape() as tape:
            predicted = model(images, training=True)
            losses = self._loss.call(labels, predicted)
            batch_size = tf.cast(tf.shape(labels)[0] * devices, losses.dtype)
            loss = tf.reduce_sum(losses) / batch_size
            if model.losses:
                loss += tf.add_n(model.losses) / devices
            scaled = optimizer.scale_loss(loss)
        weights = model.trainable_variables
        optimizer.apply(tape.gradient(scaled, [weight.value for weight in weights]), weights)
        if self._local_statistics:
            self._average_moving_statistics()
        correct = tf.equal(tf.argmax(predicted, axis=1), labels)
        return loss, tf.reduce_sum(tf.cast(correct, losses.dtype)) / batch_size

    def _average_moving_statistics(self) -> None:
        context, moving = tf.distribute.get_replica_context(), self._model.non_trainable_variables
        values = [tf.identity(variable.value) for variable in moving]
        means = context.all_reduce(tf.distribute.ReduceOp.MEAN, values)
        for variable, mean in zip(moving, means, strict=True):
            variable.assign(mean)
