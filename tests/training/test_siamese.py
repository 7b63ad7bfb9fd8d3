"""An epoch of the Siamese head, with a recorder in place of the network."""

import numpy as np
import pandas as pd

from faces.training.siamese import SiameseParams, train_siamese_epoch

PARAMS = SiameseParams(features="concatenation", hidden_units=8, epochs=3, batch_size=2, learning_rate=1e-4, seed=0)


def test_an_epoch_uses_every_pair_once_with_a_view_of_its_own_images() -> None:
    pairs = pd.DataFrame({"a": [0, 1, 2, 0, 3], "b": [1, 2, 3, 2, 4], "same": [1, 0, 0, 1, 0]})
    vectors = np.arange(15, dtype=np.float32)[:, None]  # view v of image i is 3 i + v
    seen: list[tuple[int, int, int]] = []
    swapped: list[bool] = []

    class Recorder:
        def train_on_batch(self, features: np.ndarray, same: np.ndarray) -> None:
            assert len(features) <= 2
            images = (features // 3).astype(int)
            swapped.extend((images[:, 0] > images[:, 1]).tolist())
            seen.extend((*sorted(pair), int(label)) for pair, label in zip(images.tolist(), same, strict=True))

    for epoch in range(40):
        seen.clear()
        train_siamese_epoch(Recorder(), pairs, vectors, 3, epoch, PARAMS)
        assert sorted(seen) == sorted(pairs.itertuples(index=False, name=None))
    # Either image comes first as often: 200 draws, standard deviation 0.035.
    assert abs(np.mean(swapped) - 0.5) < 0.15
