"""The learning rate at any time of a training."""

import math
from typing import Literal

from pydantic import Field, model_validator

from faces.core.params import Params


class Schedule(Params):
    """Parameters of the learning rate, part of the section `train:`."""

    epochs: int = Field(ge=0)
    learning_rate: float = Field(gt=0)
    learning_rate_min: float = Field(ge=0)
    schedule: Literal["cosine", "notebook_cosine", "constant"]
    warmup_epochs: float = Field(ge=0)
    hold_epochs: int = Field(ge=0)
    cosine_epochs: int = Field(ge=0)

    @model_validator(mode="after")
    def _check_order(self) -> "Schedule":
        if self.learning_rate_min > self.learning_rate:
            raise ValueError(f"learning_rate_min {self.learning_rate_min} is above learning_rate {self.learning_rate}")
        return self


def learning_rate_at(time: float, schedule: Schedule) -> float:
    """Return the learning rate after `time` epochs of training, a whole number or not.

    It rises linearly for `warmup_epochs`, stays at `learning_rate` until `hold_epochs`, then follows half a cosine down
    to `learning_rate_min`, which it reaches after `cosine_epochs` (0: at the end of the last epoch) and keeps.

    The notebook's cosine changes only between epochs, counts from the first epoch instead of from the end of the hold,
    and continues after half a period: it jumps at the end of the hold unless that is a multiple of 2 * `cosine_epochs`.
    """
    if time < schedule.warmup_epochs:
        return schedule.learning_rate * time / schedule.warmup_epochs
    if schedule.schedule == "constant" or time < schedule.hold_epochs:
        return schedule.learning_rate
    half_period = schedule.cosine_epochs or max(1, schedule.epochs - schedule.hold_epochs)
    elapsed = int(time) if schedule.schedule == "notebook_cosine" else min(time - schedule.hold_epochs, half_period)
    share = (1 + math.cos(math.pi * elapsed / half_period)) / 2
    return schedule.learning_rate_min + (schedule.learning_rate - schedule.learning_rate_min) * share
