"""ArcFace: classify faces by the angle to a learnt direction per subject, with a margin on the correct subject's angle.

Deng et al. 2019, "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", arXiv:1801.07698.
"""

import math
from typing import Any

from faces.network.runtime import keras, tf

SMALLEST_SQUARE = 1e-12  # of a length that is divided by, as in tf.math.l2_normalize


@keras.saving.register_keras_serializable(package="faces")
class CosineHead(keras.layers.Layer):
    """Cosine of the angle between each embedding and each class: (N, D) embeddings -> (N, classes) float32.

    cosine[n, c] = x_n . w_c / (|x_n| |w_c|): the lengths of embeddings and class weights do not matter. An embedding
    of zeros has cosine 0 to every class.

    Args:
        classes: Number of classes, at least 1. The weight `directions` is (classes, D), initially glorot uniform.
        regularizer: Optional Keras regularizer of that weight.
        dtype: float32 also in a model of lower precision: angles near 0 need the digits.
    """

    def __init__(self, classes: int, regularizer: Any = None, dtype: Any = "float32", **kwargs: Any) -> None:  # noqa: D107
        super().__init__(dtype=dtype, **kwargs)
        if classes < 1:
            raise ValueError(f"classes is {classes}, must be at least 1")
        self.classes = classes
        self.regularizer = keras.regularizers.get(regularizer)

    def build(self, input_shape: tuple[int | None, ...]) -> None:  # noqa: D102
        self.directions = self.add_weight(
            name="directions",
            shape=(self.classes, input_shape[-1]),
            initializer="glorot_uniform",
            regularizer=self.regularizer,
        )

    def call(self, embeddings: Any) -> Any:  # noqa: D102
        unit_directions = unit_length(tf.convert_to_tensor(self.directions))
        return tf.matmul(unit_length(embeddings), unit_directions, transpose_b=True)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:  # noqa: D102
        return (input_shape[0], self.classes)

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        own = {"classes": self.classes, "regularizer": keras.regularizers.serialize(self.regularizer)}
        return {**super().get_config(), **own}


def unit_length(vectors: Any) -> Any:
    """Return vectors (n, D) divided by their lengths; those of length 0 stay 0.

    By a square root and a division, which are the same on all processors. `tf.math.l2_normalize` multiplies by `rsqrt`,
    which they approximate differently, and so does a graph in which `/` divides by a square root.
    """
    squares = tf.reduce_sum(tf.square(vectors), axis=1, keepdims=True)
    return tf.math.divide_no_nan(vectors, tf.sqrt(tf.maximum(squares, tf.cast(SMALLEST_SQUARE, vectors.dtype))))


@keras.saving.register_keras_serializable(package="faces")
class ArcFaceLoss(keras.losses.Loss):
    """Softmax cross-entropy of scaled cosines, after a margin is added to the angle of the correct class.

    `y_true`: (N,) or (N, 1) class indices. `y_pred`: (N, classes) cosines, as `CosineHead` returns them.
    With theta the angle to the correct class, its logit is scale * f(theta), all others are scale * cos(theta_c):

        f(theta) = cos(theta + margin)                if cos(theta) > cos(pi - margin)
                   cos(theta) - margin * sin(margin)  otherwise

    The second line is the authors' code with `easy_margin = False`: beyond pi - margin, cos(theta + margin) would rise
    again and reward the worst angles. (Their `mm` has sin(pi - margin), which is sin(margin).)

    Args:
        scale: Factor > 0 on all logits (`s` in the paper).
        margin: Radians, in [0, pi / 2] (`m` in the paper). With more, f would not decrease everywhere. 0 gives the
            softmax of scaled cosines.
        reduction, name: As in `keras.losses.Loss`.
    """

    def __init__(  # noqa: D107
        self,
        scale: float = 64.0,
        margin: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str = "arcface",
    ) -> None:
        super().__init__(name=name, reduction=reduction)
        if not scale > 0:
            raise ValueError(f"scale is {scale}, must be more than 0")
        if not 0 <= margin <= math.pi / 2:
            raise ValueError(f"margin is {margin}, must be in [0, pi / 2] radians")
        self.scale = scale
        self.margin = margin

    def call(self, y_true: Any, y_pred: Any) -> Any:  # noqa: D102
        cosines = tf.convert_to_tensor(y_pred)
        if cosines.dtype != tf.float64:
            cosines = tf.cast(cosines, tf.float32)
        labels = tf.cast(tf.reshape(y_true, [-1]), tf.int32)  # Keras passes them as float32
        own_cosines = tf.gather(cosines, labels, axis=1, batch_dims=1)[:, tf.newaxis]
        is_own = tf.one_hot(labels, tf.shape(cosines)[1], on_value=True, off_value=False)
        logits = self.scale * tf.where(is_own, self.with_margin(own_cosines), cosines)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)

    def with_margin(self, cos_theta: Any) -> Any:
        """Return f(theta) as the class defines it, for a float tensor of cos(theta) of any shape."""
        cos_theta_plus_margin = cos_theta * math.cos(self.margin) - _sine(cos_theta) * math.sin(self.margin)
        otherwise = cos_theta - self.margin * math.sin(self.margin)
        return tf.where(cos_theta > math.cos(math.pi - self.margin), cos_theta_plus_margin, otherwise)

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        return {**super().get_config(), "scale": self.scale, "margin": self.margin}


def _sine(cos_theta: Any) -> Any:
    """Return sin(theta) for theta in [0, pi], without acos: its gradient is infinite at both ends.

    The gradient of the square root is infinite at 0, too. There, and where rounding made |cos(theta)| larger than 1,
    the sine is 0 with gradient 0. The inner `where` is needed as well: under XLA, the branch that is not taken
    contributes infinity * 0 = NaN to the gradient.
    """
    sine_squared = (1 - cos_theta) * (1 + cos_theta)  # 1 - cos^2 would lose all digits of a small angle
    positive = sine_squared > 0
    one, zero = tf.ones_like(sine_squared), tf.zeros_like(sine_squared)
    return tf.where(positive, tf.sqrt(tf.where(positive, sine_squared, one)), zero)
