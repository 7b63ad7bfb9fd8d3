"""The few parameters that rebuild the network for its weights."""

from typing import Literal

from pydantic import Field

from faces.core.params import Params

CHANNELS_MULTIPLE = 8  # narrower networks keep channel counts that vector units like


class Architecture(Params):
    """Arguments of `mobilefacenet.build`; part of the section `train:` of params.yaml."""

    width: float = Field(gt=0, le=4)
    embedding_size: int = Field(ge=8, le=4096)
    head: Literal["linear", "notebook"]
    pixel_range: Literal["symmetric", "unit"]


def extract_architecture(params: Architecture) -> Architecture:
    """Return only those parameters that a reader of the weights must know."""
    return Architecture(**params.model_dump(include=set(Architecture.model_fields)))


def channels(at_full_width: int, width: float) -> int:
    """Return a channel count at a width: a multiple of 8, at least 8."""
    steps = int(at_full_width * width / CHANNELS_MULTIPLE + 0.5)
    return max(CHANNELS_MULTIPLE, steps * CHANNELS_MULTIPLE)
