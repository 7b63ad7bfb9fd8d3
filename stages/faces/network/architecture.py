"""The few parameters that rebuild the network for its weights."""

from typing import Literal

from pydantic import Field

from faces.core.params import Params


class Architecture(Params):
    """Arguments of `mobilefacenet.build`; part of the section `train:` of params.yaml."""

    width: float = Field(gt=0, le=4)
    embedding_size: int = Field(ge=8, le=4096)
    head: Literal["linear", "notebook"]
    pixel_range: Literal["symmetric", "unit"]
