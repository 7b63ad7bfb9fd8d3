"""The few numbers that rebuild the network around its weights."""

from typing import Literal

from pydantic import Field

from faces.core.params import Params


class Architecture(Params):
    """The arguments of `mobilefacenet.build`, as the section `train:` of params.yaml has them."""

    width: float = Field(gt=0, le=4)
    embedding_size: int = Field(ge=8, le=4096)
    head: Literal["linear", "notebook"]
    pixel_range: Literal["symmetric", "unit"]
