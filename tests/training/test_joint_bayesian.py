"""Joint Bayesian against normal densities of SciPy, and against covariances that are known."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from faces.training.joint_bayesian import JointBayesian, fit_joint_bayesian, linear_map

BETWEEN = np.array([[2.0, 0.6, 0.1], [0.6, 1.0, -0.2], [0.1, -0.2, 0.5]])
WITHIN = np.array([[0.5, -0.1, 0.2], [-0.1, 0.8, 0.1], [0.2, 0.1, 1.5]])
MEAN = np.array([1.0, -2.0, 0.5])


def log_likelihood(model: JointBayesian, images: np.ndarray) -> float:
    """Return the log density of all images (k, D) of one person: blocks B + W on the diagonal, B beside it."""
    count, size = images.shape
    covariance = np.kron(np.ones((count, count)), model.between) + np.kron(np.eye(count), model.within)
    return float(multivariate_normal(np.tile(model.mean, count), covariance).logpdf(images.ravel()))


def log_ratio(model: JointBayesian, x: np.ndarray, y: np.ndarray) -> float:
    together = log_likelihood(model, np.stack([x, y]))
    return together - log_likelihood(model, x[np.newaxis]) - log_likelihood(model, y[np.newaxis])


def draw(people: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings and labels of people with one to four images each, of the model above."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(people), random.integers(1, 5, people))
    of_people = random.multivariate_normal(MEAN, BETWEEN, people)
    return of_people[labels] + random.multivariate_normal(np.zeros(3), WITHIN, len(labels)), labels


def test_a_dot_product_is_the_term_of_the_likelihood_ratio_in_which_both_meet() -> None:
    model = JointBayesian(MEAN, BETWEEN, WITHIN)
    matrix = linear_map(model, shrinkage=0)
    random = np.random.default_rng(1)
    for x, y in random.normal(0, 2, (20, 2, 3)):
        alone = log_ratio(model, x, MEAN) + log_ratio(model, MEAN, y) - log_ratio(model, MEAN, MEAN)
        dot_product = ((x - MEAN) @ matrix) @ ((y - MEAN) @ matrix)
        assert dot_product == pytest.approx(log_ratio(model, x, y) - alone, abs=1e-9)


def test_one_number_by_hand() -> None:
    """B = 2 and W = 1 give l = 2 and M = 2 / 5. Half of W shrunk to its mean variance changes one number not at all."""
    model = JointBayesian(np.zeros(1), np.full((1, 1), 2.0), np.ones((1, 1)))
    for shrinkage in (0.0, 0.5):
        assert linear_map(model, shrinkage)[0, 0] == pytest.approx(np.sqrt(0.4))
    # W = diag(1, 3) has the mean variance 2. Halfway it is diag(1.5, 2.5), and B = 3 I makes l = (2, 1.2).
    two = JointBayesian(np.zeros(2), 3 * np.eye(2), np.diag([1.0, 3.0]))
    expected = np.diag(np.sqrt([2 / 5 / 1.5, 1.2 / 3.4 / 2.5]))
    np.testing.assert_allclose(linear_map(two, 0.5), expected, atol=1e-12)


def test_em_finds_the_covariances_that_embeddings_were_drawn_with() -> None:
    model = fit_joint_bayesian(*draw(20_000))
    np.testing.assert_allclose(model.mean, MEAN, atol=0.05)
    np.testing.assert_allclose(model.between, BETWEEN, atol=0.06)
    np.testing.assert_allclose(model.within, WITHIN, atol=0.03)


def test_each_step_of_em_makes_the_embeddings_likelier() -> None:
    embeddings, labels = draw(60, seed=2)
    likelihoods = []
    for steps in range(6):
        model = fit_joint_bayesian(embeddings, labels, steps)
        people = (embeddings[labels == person] for person in np.unique(labels))
        likelihoods.append(sum(log_likelihood(model, images) for images in people))
    assert np.all(np.diff(likelihoods) > 0)


def test_directions_in_which_nothing_varies_change_nothing() -> None:
    embeddings, labels = draw(300)
    axes = np.linalg.qr(np.random.default_rng(3).normal(size=(8, 3)))[0]
    small = linear_map(fit_joint_bayesian(embeddings, labels))
    model = fit_joint_bayesian(embeddings @ axes.T, labels)
    np.testing.assert_allclose(linear_map(model), axes @ small @ axes.T, atol=1e-6)


def test_people_with_one_image_each_are_refused() -> None:
    with pytest.raises(ValueError, match="nobody has two images"):
        fit_joint_bayesian(np.eye(4), np.arange(4))
