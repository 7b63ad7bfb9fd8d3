"""A Keras layer as TensorFlow trains it fastest on a processor."""

from typing import Any

from faces.runtime import keras, tf


@keras.saving.register_keras_serializable(package="faces")
class BatchNormalization(keras.layers.BatchNormalization):
    """Batch normalization in one TensorFlow kernel, which Keras 3's own layer is not on a CPU.

    Arguments, weights and outputs are those of `keras.layers.BatchNormalization`; so is the name, which Keras makes
    part of weight files. One difference, the same that Keras 2.15 has: the moving variance follows the unbiased
    variance of a batch, var * n / (n - 1), n = N * H * W. Inputs other than float32 (N, H, W, C), masks, and layers
    without scale or centre go the way of the base class.
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
        outputs, mean, unbiased_variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma, self.beta, epsilon=self.epsilon, is_training=True
        )
        for moving, of_batch in ((self.moving_mean, mean), (self.moving_variance, unbiased_variance)):
            moving.assign(moving * self.momentum + of_batch * (1.0 - self.momentum))
        return outputs

    def _fits_the_kernel(self, inputs: Any, mask: Any) -> bool:
        channels_last = len(inputs.shape) == 4 and self.axis in (-1, 3)
        plain = self.scale and self.center and mask is None and not self.renorm and not self.synchronized
        return channels_last and plain and self.compute_dtype == "float32"
