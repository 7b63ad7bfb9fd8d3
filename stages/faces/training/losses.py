"""The loss that a training minimises. To add another one:

1. write a `keras.losses.Loss` in a module beside arcface.py; its `call` takes labels (n,) and the cosines of
   `CosineHead` (n, classes), and returns the loss of each image (n,);
2. give its parameters to `LossParams` and, with a comment, to the section `train:` of params.yaml;
3. return it from `make_loss`.
"""

import math
from typing import Any

from pydantic import Field

from faces.core.params import Params


class LossParams(Params):
    """Parameters of the loss, part of the section `train:`."""

    scale: float = Field(gt=0)
    margin: float = Field(ge=0, le=math.pi / 2)


def make_loss(params: LossParams) -> Any:
    """Return the Keras loss that `params` describe."""
    from faces.training.arcface import ArcFaceLoss

    return ArcFaceLoss(params.scale, params.margin)
