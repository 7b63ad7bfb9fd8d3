import numpy as np

from faces.core.sampling import sample_at_most


def test_some_images_are_a_sample_in_order_or_all() -> None:
    images = np.arange(100, 150)
    np.testing.assert_array_equal(sample_at_most(images, 50, 0), images)
    sample = sample_at_most(images, 20, 0)
    assert len(set(sample.tolist())) == 20 and (np.diff(sample) > 0).all() and set(sample) <= set(images)
    np.testing.assert_array_equal(sample_at_most(images, 20, 0), sample)
    assert not np.array_equal(sample_at_most(images, 20, 1), sample)
