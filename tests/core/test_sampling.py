import numpy as np

from faces.core.sampling import sample_at_most, sample_whole_people


def test_some_images_are_a_sample_in_order_or_all() -> None:
    images = np.arange(100, 150)
    np.testing.assert_array_equal(sample_at_most(images, 50, 0), images)
    sample = sample_at_most(images, 20, 0)
    assert len(set(sample.tolist())) == 20 and (np.diff(sample) > 0).all() and set(sample) <= set(images)
    np.testing.assert_array_equal(sample_at_most(images, 20, 0), sample)
    assert not np.array_equal(sample_at_most(images, 20, 1), sample)


def test_whole_people_are_taken_in_random_order_while_they_fit() -> None:
    labels = np.random.default_rng(0).integers(0, 30, 400)
    images = np.sort(np.random.default_rng(1).permutation(400)[:300])
    np.testing.assert_array_equal(sample_whole_people(images, labels, 300, seed=0), images)
    expected: list[int] = []
    for person in np.random.default_rng(0).permutation(30):
        own = images[labels[images] == person].tolist()
        if len(expected) + len(own) > 100:
            break
        expected += own
    chosen = sample_whole_people(images, labels, 100, seed=0)
    assert chosen.tolist() == sorted(expected) and len(chosen) > 80
    assert set(labels[chosen]) != set(labels[sample_whole_people(images, labels, 100, seed=1)])


def test_a_genuine_and_an_impostor_pair_come_before_the_bound() -> None:
    labels = np.repeat(np.arange(20), [1] * 19 + [9])  # only the last person has two images
    for seed in range(10):
        chosen = labels[sample_whole_people(np.arange(28), labels, 3, seed)]
        assert np.count_nonzero(chosen == 19) == 9 and len(set(chosen)) > 1
