"""ArcFace: classify faces by the angle to a learnt direction per subject, with a margin on the right subject's angle.

Deng et al. 2019, "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", arXiv:1801.07698.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.network.runtime import keras, tf


@keras.saving.register_keras_serializable(package="faces")
class CosineHead(keras.layers.Layer):
    """Cosine of the angle between each embedding and each class: (N, D) embeddings -> (N, classes) float32.

    cosine[n, c] = x_n . w_c / (|x_n| |w_c|), so neither the length of an embedding nor that of a class weight counts.
    An embedding of zeros has cosine 0 to every class.

    Args:
        classes: Number of classes, at least 1. The weight `directions` is (classes, D), glorot uniform at first.
        regularizer: Optional Keras regularizer of that weight.
        dtype: float32 also in a model of lower precision: an angle near 0 needs its digits.
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
        unit_directions = tf.math.l2_normalize(tf.convert_to_tensor(self.directions), axis=1)
        return tf.matmul(tf.math.l2_normalize(embeddings, axis=1), unit_directions, transpose_b=True)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:  # noqa: D102
        return (input_shape[0], self.classes)

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        own = {"classes": self.classes, "regularizer": keras.regularizers.serialize(self.regularizer)}
        return {**super().get_config(), **own}


class Stored:
    """An array outside the model that is saved and restored like a variable of it."""

    def __init__(self, array: NDArray[np.floating]) -> None:
        """Hold `array`, which is changed in place."""
        self.array = array

    def assign(self, values: NDArray[np.floating]) -> None:
        """Replace the content."""
        self.array[:] = values

    def __array__(self, dtype: Any = None) -> NDArray[np.floating]:
        """Return the array itself."""
        return self.array


class SampledDirections:
    """The directions of all classes, of which each step trains a sample: Partial FC.

    An et al. 2022, "Killing Two Birds with One Stone: Efficient and Robust Training of Face Recognition CNNs by
    Partial FC", arXiv:2203.15565. A step sees the classes of its batch, and as many others, drawn at random, as fit
    into the head. Directions that are not drawn, and their momentum, wait outside the model as they are.

    Args:
        classes: Number of all classes, C.
        head: A built `CosineHead` of at most C classes and at least as many as a batch has images.
        optimizer: The built optimizer that trains the head.
        seed: Of the first directions, glorot uniform as the head's own would be.
    """

    def __init__(self, classes: int, head: CosineHead, optimizer: Any, seed: int) -> None:  # noqa: D107
        sampled, size = head.directions.shape
        if not 1 <= sampled <= classes:
            raise ValueError(f"the head has {sampled} classes, must have 1 to {classes}")
        self._in_model = [head.directions]
        self._in_model += [variable for variable in optimizer.variables if "directions" in variable.path]
        limit = math.sqrt(6 / (classes + size))
        random = np.random.default_rng(seed)
        directions = random.uniform(-limit, limit, (classes, size)).astype(head.directions.dtype)
        of_optimizer = [np.zeros_like(directions) for _ in self._in_model[1:]]
        self.variables = [Stored(array) for array in (directions, *of_optimizer)]
        self._sampled = sampled
        self._chosen = np.arange(sampled)

    def draw(self, labels: NDArray[np.int64], seed: tuple[int, ...]) -> NDArray[np.int64]:
        """Put the sample of a batch into the model; return `labels` (N,) as places in it."""
        classes, own = len(self.variables[0].array), np.unique(labels)
        random = np.random.default_rng(seed)
        drawn = random.choice(classes, size=self._sampled, replace=False)
        others = random.permutation(np.setdiff1d(drawn, own))[: self._sampled - len(own)]  # too many, if own were drawn
        self._chosen = np.sort(np.concatenate([own, others]))
        for variable, stored in zip(self._in_model, self.variables, strict=True):
            variable.assign(stored.array[self._chosen])
        return np.searchsorted(self._chosen, labels)

    def put_back(self) -> None:
        """Take what the step has made of the sample out of the model."""
        for variable, stored in zip(self._in_model, self.variables, strict=True):
            stored.array[self._chosen] = np.asarray(variable)


@keras.saving.register_keras_serializable(package="faces")
class ArcFaceLoss(keras.losses.Loss):
    """Softmax cross-entropy of scaled cosines, after a margin is added to the angle of the right class.

    `y_true`: (N,) or (N, 1) class indices. `y_pred`: (N, classes) cosines, as `CosineHead` gives them.
    With theta the angle to the right class, its logit is scale * f(theta), every other one scale * cos(theta_c):

        f(theta) = cos(theta + margin)                if cos(theta) > cos(pi - margin)
                   cos(theta) - margin * sin(margin)  otherwise

    The second line is what the authors' code does under `easy_margin = False`: cos(theta + margin) would rise again
    past pi - margin, and reward the worst angles. (Their `mm` has sin(pi - margin), which is sin(margin).)

    Args:
        scale: Factor > 0 on all logits (`s` in the paper).
        margin: Radians, in [0, pi / 2] (`m` in the paper). Beyond that f no longer falls everywhere. 0 is a softmax of
            scaled cosines.
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
        labels = tf.cast(tf.reshape(y_true, [-1]), tf.int32)  # Keras hands them over as float32
        own_cosines = tf.gather(cosines, labels, axis=1, batch_dims=1)[:, tf.newaxis]
        is_own = tf.one_hot(labels, tf.shape(cosines)[1], on_value=True, off_value=False)
        logits = self.scale * tf.where(is_own, self.with_margin(own_cosines), cosines)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)

    def with_margin(self, cos_theta: Any) -> Any:
        """Return f(theta) of the class docstring for a float tensor of cos(theta), of any shape."""
        cos_theta_plus_margin = cos_theta * math.cos(self.margin) - _sine(cos_theta) * math.sin(self.margin)
        past_the_turn = cos_theta - self.margin * math.sin(self.margin)
        return tf.where(cos_theta > math.cos(math.pi - self.margin), cos_theta_plus_margin, past_the_turn)

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        return {**super().get_config(), "scale": self.scale, "margin": self.margin}


def _sine(cos_theta: Any) -> Any:
    """Return sin(theta) for theta in [0, pi] without acos, whose gradient is infinite at both ends.

    So is the square root's at 0. There, and where rounding has left |cos(theta)| above 1, the sine is 0 with gradient
    0. The inner `where` is needed as well: a gradient of infinity times 0 is NaN even on the side not taken, under XLA.
    """
    sine_squared = (1 - cos_theta) * (1 + cos_theta)  # not 1 - cos^2, which loses all digits of a small angle
    positive = sine_squared > 0
    one, zero = tf.ones_like(sine_squared), tf.zeros_like(sine_squared)
    return tf.where(positive, tf.sqrt(tf.where(positive, sine_squared, one)), zero)
