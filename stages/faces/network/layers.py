"""A Keras layer as TensorFlow trains it fastest on a processor."""

from typing import Any

from faces.network.runtime import keras, tf


@keras.saving.register_keras_serializable(package="faces")
class BatchNormalization(keras.layers.BatchNormalization):
    """Batch normalization in one TensorFlow kernel, which Keras 3's own layer is not on a CPU.

    Arguments, weights and outputs are those of `keras.layers.BatchNormalization`; so is the name, which Keras makes
    part of weight files. One difference, the same that Keras 2.15 has: the moving variance follows the unbiased
    variance of a batch, var * n / (n - 1), n = N * H * W. Inputs other than float32 (N, H, W, C), masks, and layers
    without scale or centre go the way of the base class.

    With `synchronized`, the statistics are those of the whole batch, of which several devices have equal shares: from
    the mean m_r and biased variance v_r of each, mean = E[m_r] and variance = E[v_r + (m_r - mean)^2]. (The mean of all
    squares less the square of the mean would do with one message less, and lose digits where the mean is large.)
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:  # noqa: D102
        if not self._fits_the_kernel(inputs, mask):
            return super().call(inputs, training=training, mask=mask)
        if not (training and self.trainable):
            outputs, _, _ = tf.compat.v1.nn.fused_batch_norm(
                inputs,
                self.gamma,
                self.beta,
                mean=self.moving_mean,
                variance=self.moving_variance,
                epsilon=self.epsilon,
                is_training=False,
            )
            return outputs
        outputs, mean, unbiased_variance = self._over_devices(inputs) if self.synchronized else self._fused(inputs)
        for moving, of_batch in ((self.moving_mean, mean), (self.moving_variance, unbiased_variance)):
            moving.assign(moving * self.momentum + of_batch * (1.0 - self.momentum))
        return outputs

    def _fused(self, inputs: Any) -> tuple[Any, Any, Any]:
        return tf.compat.v1.nn.fused_batch_norm(inputs, self.gamma, self.beta, epsilon=self.epsilon, is_training=True)

    def _over_devices(self, inputs: Any) -> tuple[Any, Any, Any]:
        devices = tf.distribute.get_replica_context()

        def mean_over_devices(value: Any) -> Any:
            return devices.all_reduce(tf.distribute.ReduceOp.SUM, value) / devices.num_replicas_in_sync

        mean_of_device, variance_of_device = tf.nn.moments(inputs, axes=[0, 1, 2])
        mean = mean_over_devices(mean_of_device)
        variance = mean_over_devices(variance_of_device + tf.math.squared_difference(mean_of_device, mean))
        outputs = tf.nn.batch_normalization(inputs, mean, variance, self.beta, self.gamma, self.epsilon)
        values = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]) * devices.num_replicas_in_sync, tf.float32)
        return outputs, mean, variance * values / (values - 1)

    def _fits_the_kernel(self, inputs: Any, mask: Any) -> bool:
        channels_last = len(inputs.shape) == 4 and self.axis in (-1, 3)
        plain = self.scale and self.center and mask is None and not self.renorm
        return channels_last and plain and self.compute_dtype == "float32"
