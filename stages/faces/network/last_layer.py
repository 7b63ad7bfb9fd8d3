"""A linear map of embeddings, put into the last layer of a network: it needs no layer of its own."""

import numpy as np
from numpy.typing import NDArray

from faces.network.layers import BatchNormalization
from faces.network.runtime import keras


def map_embeddings(backbone: keras.Model, mean: NDArray[np.float64], matrix: NDArray[np.float64]) -> None:
    """Change the last layers of a backbone so that it gives (x - mean) @ matrix where it gave x.

    `mean` is (D,) and `matrix` (D, D), for embeddings of D numbers. With the linear head, batch norm keeps only the
    offset, and its scale moves into the linear map before it.
    """
    last = backbone.layers[-1]
    if not isinstance(last, BatchNormalization):  # the notebook's head: a linear map with a bias
        kernel, bias = (np.asarray(weight, dtype=np.float64) for weight in (last.kernel, last.bias))
        last.kernel.assign(kernel @ matrix)
        last.bias.assign((bias - mean) @ matrix)
        return
    dense = backbone.layers[-2]
    kernel, gamma, beta, moving_mean, moving_variance = (
        np.asarray(weight, dtype=np.float64)
        for weight in (dense.kernel, last.gamma, last.beta, last.moving_mean, last.moving_variance)
    )
    scale = gamma / np.sqrt(moving_variance + last.epsilon)
    dense.kernel.assign((kernel * scale) @ matrix)
    last.beta.assign((beta - moving_mean * scale - mean) @ matrix)
    last.gamma.assign(np.ones_like(gamma))
    last.moving_mean.assign(np.zeros_like(moving_mean))
    last.moving_variance.assign(np.full_like(moving_variance, 1 - last.epsilon))
