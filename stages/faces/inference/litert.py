"""LiteRT, TensorFlow's engine for phones: a network in Keras as a LiteRT model. embedder.py runs such a model."""

import warnings
from collections.abc import Callable
from typing import Any

from faces.core.quiet import quiet_stderr
from faces.network.runtime import keras, tf


def convert(network: keras.Model, adjust: Callable[[Any], None] | None = None) -> bytes:
    """Return a network with one input and one output as a LiteRT model that takes one image at a time.

    It computes in float32, unless `adjust` sets TensorFlow's converter otherwise.
    """
    holder = tf.Module()
    holder.captured = [variable.value for variable in network.variables]
    call = tf.function(lambda image: network(image, training=False))
    image = tf.TensorSpec((1, *network.input_shape[1:]), tf.float32)
    with quiet_stderr(), warnings.catch_warnings():
        # The inputs stay float32, so they need none.
        warnings.filterwarnings("ignore", "Statistics for quantized inputs were expected")
        function = call.get_concrete_function(image)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], holder)
        # The default writes a SavedModel first and reads it back: the same numbers in three times the time.
        converter.experimental_lower_to_saved_model = False
        if adjust:
            adjust(converter)
        return converter.convert()
