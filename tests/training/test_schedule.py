"""The learning rate, by hand."""

import math

import numpy as np
import pytest

from faces.training.schedule import Schedule, learning_rate_at

DEFAULTS = {"epochs": 2, "schedule": "cosine", "warmup_epochs": 1.0, "hold_epochs": 0}


def schedule_with(**changes: object) -> Schedule:
    return Schedule.model_validate(DEFAULTS | changes)


def test_schedule_by_hand() -> None:
    shared = {"learning_rate": 0.1, "learning_rate_min": 0.001, "hold_epochs": 10, "cosine_epochs": 5}
    shared["warmup_epochs"] = 0
    cosine = [learning_rate_at(epoch, schedule_with(schedule="cosine", **shared)) for epoch in range(17)]
    # Angles after the hold: 0, 36, 72, 108, 144, 180 degrees, and 180 from then on.
    shares = [1.0] * 11 + [0.9045085, 0.6545085, 0.3454915, 0.0954915, 0.0, 0.0]
    np.testing.assert_allclose(cosine, [0.001 + 0.099 * share for share in shares], rtol=1e-6)
    # Between epochs too: 11.25 is a quarter of the way, 45 degrees.
    quarter = learning_rate_at(11.25, schedule_with(schedule="cosine", **shared))
    assert quarter == pytest.approx(0.001 + 0.099 * 0.8535534)
    constant = schedule_with(schedule="constant", **shared)
    assert [learning_rate_at(epoch, constant) for epoch in (0, 16)] == [0.1, 0.1]


def test_the_notebooks_schedule_jumps_where_hold_is_no_multiple_of_its_period() -> None:
    shared = {"learning_rate": 0.1, "learning_rate_min": 0.001, "schedule": "notebook_cosine", "cosine_epochs": 5}
    shared["warmup_epochs"] = 0
    even, odd = schedule_with(hold_epochs=10, **shared), schedule_with(hold_epochs=7, **shared)
    assert learning_rate_at(10, even) == pytest.approx(0.1)
    for epoch in (11, 14):
        expected = 0.001 + 0.099 * (1 + math.cos(math.pi * epoch / 5)) / 2
        assert learning_rate_at(epoch, even) == pytest.approx(expected)
    assert learning_rate_at(7, odd) == pytest.approx(0.001 + 0.099 * 0.3454915)  # cos(252 degrees)


def test_it_warms_up_and_falls_to_the_end_of_the_last_epoch() -> None:
    shared = {"learning_rate": 0.4, "learning_rate_min": 0.0, "cosine_epochs": 0}
    rates = schedule_with(warmup_epochs=2, hold_epochs=2, epochs=6, **shared)
    times = (0, 0.5, 1, 2, 3, 4, 6)
    shares = [0, 0.25, 0.5, 1, 0.8535534, 0.5, 0]
    np.testing.assert_allclose([learning_rate_at(time, rates) for time in times], [0.4 * s for s in shares], 1e-6)
