"""One training step, by one device or by several that share the batch, with a teacher or without."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.network.runtime import tf
from faces.training.arcface import unit_length
from faces.training.distribution import Devices


class TrainingStep:
    """Changes the weights of a model by the gradient of a batch's mean loss, and returns metrics of the batch.

    With a teacher, the loss of an image has the further term teacher_weight * (1 - cos(x, t)), where x is its embedding
    and t the teacher's.

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
        teacher_weight: Factor of that term; the model is then two layers, of which the first gives x.
    """

    def __init__(  # noqa: D107
        self, model: Any, loss: Any, devices: Devices, jit_compile: bool, synchronized: bool, teacher_weight: float = 1
    ) -> None:
        self._model, self._loss, self._devices, self._teacher_weight = model, loss, devices, teacher_weight
        self._local_statistics = devices.count > 1 and not synchronized
        on_device = tf.function(self._on_device, jit_compile=True) if jit_compile else self._on_device
        self._on_all = tf.function(lambda *batch: self._sum(devices.strategy.run(on_device, batch)))

    def __call__(
        self, images: NDArray[np.floating], labels: NDArray[np.int64], *taught: NDArray[np.floating]
    ) -> dict[str, float]:
        """Do a step on this process's share of a batch: images (n, …), labels (n,), the teacher's embeddings (n, D).

        Return loss, accuracy and, with a teacher, teacher_cosine, the mean cosine to its embeddings.
        """
        metrics = self._on_all(*(self._devices.spread(array) for array in (images, labels, *taught)))
        names = ("loss", "accuracy", "teacher_cosine")[: len(metrics)]
        return {name: float(metric) for name, metric in zip(names, metrics, strict=True)}

    def _sum(self, metrics: Any) -> Any:
        if self._devices.count == 1:
            return metrics
        return [self._devices.strategy.reduce("SUM", metric, axis=None) for metric in metrics]

    def _on_device(self, images: Any, labels: Any, *taught: Any) -> Any:
        model, optimizer, devices = self._model, self._model.optimizer, self._devices.count
        with tf.GradientTape() as tape:
            if taught:
                embed, head = model.layers
                embeddings = embed(images, training=True)
                predicted = head(embeddings, training=True)
            else:
                predicted = model(images, training=True)
            losses = self._loss.call(labels, predicted)
            if taught:
                unit = unit_length(tf.cast(embeddings, losses.dtype))
                cosines = tf.reduce_sum(unit * tf.cast(taught[0], losses.dtype), axis=1)
                losses += self._teacher_weight * (1 - cosines)
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
        metrics = [loss, tf.reduce_sum(tf.cast(correct, losses.dtype)) / batch_size]
        return [*metrics, tf.reduce_sum(cosines) / batch_size] if taught else metrics

    def _average_moving_statistics(self) -> None:
        context, moving = tf.distribute.get_replica_context(), self._model.non_trainable_variables
        values = [tf.identity(variable.value) for variable in moving]
        means = context.all_reduce(tf.distribute.ReduceOp.MEAN, values)
        for variable, mean in zip(moving, means, strict=True):
            variable.assign(mean)
