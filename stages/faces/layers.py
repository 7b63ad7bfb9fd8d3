"""Keras layers as TensorFlow trains them fastest on a processor.

Arguments and weights are those of Keras's own layers, and so are the names, which Keras makes part of files; results
too, but for one difference that `BatchNormalization` states.
"""

from typing import Any

from faces.runtime import ON_GPU, keras, tf


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


@keras.saving.register_keras_serializable(package="faces")
class Conv2D(keras.layers.Conv2D):
    """Convolution whose 1 x 1 kernels are trained by matrix products.

    The gradient of a kernel is then one product, (C_in, N * H * W) by (N * H * W, C_out), which TensorFlow computes in
    half the time that it takes for the gradient of a convolution. Other kernels, and inference, go the way of Keras.
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:  # noqa: D102
        pointwise = self.kernel_size == self.strides == (1, 1) and self.groups == 1
        plain = self.use_bias and self.activation is keras.activations.linear and self.data_format == "channels_last"
        if ON_GPU or not (training and pointwise and plain):
            return super().call(inputs)
        pixels = tf.reshape(inputs, [-1, inputs.shape[-1]])
        products = tf.matmul(pixels, tf.convert_to_tensor(self.kernel)[0, 0])
        outputs = tf.nn.bias_add(products, tf.convert_to_tensor(self.bias))
        return tf.reshape(outputs, [-1, *inputs.shape[1:3], self.filters])


@keras.saving.register_keras_serializable(package="faces")
def silu(x: Any) -> Any:
    """Return x * sigmoid(x), swish, of a tensor of any shape; its gradient takes one pass over memory, not six."""
    return _silu(x)


@tf.custom_gradient
def _silu(x: Any) -> tuple[Any, Any]:
    return tf.nn.silu(x), lambda upstream: _silu_gradient(x, upstream)


@tf.function(jit_compile=not ON_GPU)
def _silu_gradient(x: Any, upstream: Any) -> Any:
    share = tf.nn.sigmoid(x)
    return upstream * share * (1 + x * (1 - share))
