"""Batch normalization that is fast on a CPU, and right when several devices share a batch."""

from typing import Any

from faces.network.runtime import keras, tf


@keras.saving.register_keras_serializable(package="faces")
class BatchNormalization(keras.layers.BatchNormalization):
    """Batch normalization by one fused TensorFlow kernel, where Keras 3's own layer runs many on a CPU.

    It has the arguments, weights and outputs of `keras.layers.BatchNormalization`, and its name, which Keras writes
    into weight files. One difference, as in Keras 2.15: the moving variance follows the unbiased variance of a batch,
    var * n / (n - 1), n = N * H * W. The base class handles inputs other than float32 (N, H, W, C) or (N, C), masks,
    and layers without scale or centre.

    Outside the kernel, the factor is gamma / sqrt(variance + epsilon), by a square root and a division, which are the
    same on all processors. Keras multiplies by `rsqrt`, which processors approximate differently.

    With `synchronized`, the statistics are those of the whole batch, which several devices share equally: from the mean
    m_r and the biased variance v_r of each device, mean = E[m_r] and variance = E[v_r + (m_r - mean)^2]. (The mean of
    squares minus the square of the mean would need one message less, but loses digits where the mean is large.)
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:  # noqa: D102
        if not self._kernel_applies(inputs, mask):
            return super().call(inputs, training=training, mask=mask)
        if not (training and self.trainable):
            return self._normalized(inputs, self.moving_mean, self.moving_variance)
        outputs, mean, unbiased_variance = self._synchronized(inputs) if self.synchronized else self._fused(inputs)
        for moving, batch_statistic in ((self.moving_mean, mean), (self.moving_variance, unbiased_variance)):
            moving.assign(moving * self.momentum + batch_statistic * (1.0 - self.momentum))
        return outputs

    def _normalized(self, inputs: Any, mean: Any, variance: Any) -> Any:
        # Not `/`: TensorFlow's graph optimizer turns a division by a square root into a product with `rsqrt`.
        factor = tf.math.divide_no_nan(self.gamma, tf.sqrt(variance + self.epsilon))
        return inputs * factor + (self.beta - mean * factor)

    def _fused(self, inputs: Any) -> tuple[Any, Any, Any]:
        maps = inputs if len(inputs.shape) == 4 else inputs[:, tf.newaxis, tf.newaxis]
        outputs, *statistics = tf.compat.v1.nn.fused_batch_norm(
            maps, self.gamma, self.beta, epsilon=self.epsilon, is_training=True
        )
        return tf.reshape(outputs, tf.shape(inputs)), *statistics

    def _synchronized(self, inputs: Any) -> tuple[Any, Any, Any]:
        replicas = tf.distribute.get_replica_context()

        def mean_over_replicas(value: Any) -> Any:
            return replicas.all_reduce(tf.distribute.ReduceOp.SUM, value) / replicas.num_replicas_in_sync

        positions = list(range(len(inputs.shape) - 1))
        own_mean, own_variance = tf.nn.moments(inputs, axes=positions)
        mean = mean_over_replicas(own_mean)
        variance = mean_over_replicas(own_variance + tf.math.squared_difference(own_mean, mean))
        values = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]) * replicas.num_replicas_in_sync, tf.float32)
        return self._normalized(inputs, mean, variance), mean, variance * values / tf.maximum(values - 1, 1)

    def _kernel_applies(self, inputs: Any, mask: Any) -> bool:
        rank = len(inputs.shape)
        channels_last = rank in (2, 4) and self.axis in (-1, rank - 1)
        plain = self.scale and self.center and mask is None and not self.renorm
        return channels_last and plain and self.compute_dtype == "float32"
