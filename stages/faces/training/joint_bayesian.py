"""Joint Bayesian: which directions of embeddings tell people apart, from the embeddings of the training people.

Chen et al. 2012, "Bayesian Face Revisited: A Joint Formulation", ECCV; in speaker recognition, the two-covariance form
of PLDA (Bruemmer and de Villiers 2010). An embedding is x = mean + h + w: h is of the person, normal with covariance B,
and w of the image, normal with covariance W. Then the log-likelihood ratio of two embeddings, of one person against of
two, is

    f(x) + f(y) + (x - mean)' M (y - mean) + constant,    M = V diag(l / (1 + 2 l)) V',    V' W V = I,  V' B V = diag(l)

`linear_map` gives the square root A of M. So the dot product of (x - mean) A and (y - mean) A is the one term in which
both embeddings meet, and their cosine leaves out what f makes of a single one.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

STEPS = 30  # of EM; on real faces 100 gave the same figures
SHRINKAGE = 0.3  # share of W that its mean variance in all directions takes; from 0.2 to 0.5 figures stayed
NEGLIGIBLE = 1e-6  # share of the largest variance below which a direction is none: narrow networks leave many empty

Matrix = NDArray[np.float64]


class JointBayesian(NamedTuple):
    """Mean (D,), and the covariances B, between people, and W, within a person, each (D, D)."""

    mean: Matrix
    between: Matrix
    within: Matrix


def fit_joint_bayesian(
    embeddings: NDArray[np.floating], labels: NDArray[np.int64], steps: int = STEPS
) -> JointBayesian:
    """Return the model that `steps` of EM find for embeddings (n, D) of people `labels` (n,).

    EM starts from the covariances of people's means and of images around them. Someone with one image tells of B alone
    at first. ValueError if nobody has two images.
    """
    _, person, images = np.unique(labels, return_inverse=True, return_counts=True)
    if images.max() < 2:
        raise ValueError("nobody has two images, so nothing tells how those of one person differ")
    mean = embeddings.mean(axis=0, dtype=np.float64)
    x = embeddings - mean
    axes = _varying(x.T @ x)
    x = x @ axes
    means = np.zeros((len(images), x.shape[1]))
    np.add.at(means, person, x)
    means /= images[:, None]
    around = x - means[person]
    scatter = around.T @ around
    between, within = means.T @ means / len(images), scatter / (len(x) - len(images))
    for _ in range(steps):
        # Given the mean m of k images, h is normal with mean G m and covariance B - G B, G = B (B + W / k)^-1.
        of_people, of_images = np.zeros_like(between), scatter.copy()
        for count in np.unique(images):
            own = means[images == count]
            gain = np.linalg.solve(between + within / count, between).T
            person_part, uncertain = own @ gain.T, len(own) * (between - gain @ between)
            rest = own - person_part
            of_people += person_part.T @ person_part + uncertain
            of_images += count * (rest.T @ rest + uncertain)
        between, within = _symmetric(of_people / len(images)), _symmetric(of_images / len(x))
    return JointBayesian(mean, axes @ between @ axes.T, axes @ within @ axes.T)


def _varying(covariance: Matrix) -> Matrix:
    """Return orthonormal axes (D, d) of the directions in which a covariance (D, D) is not negligible."""
    variances, directions = np.linalg.eigh(covariance)
    return directions[:, variances > NEGLIGIBLE * variances[-1]]


def linear_map(model: JointBayesian, shrinkage: float = SHRINKAGE) -> Matrix:
    """Return the symmetric A (D, D), A A = M of the module's formula, with W shrunk towards equal variances.

    Directions in which embeddings do not vary are mapped to 0.
    """
    axes = _varying(model.between + model.within)
    between, within = (axes.T @ covariance @ axes for covariance in (model.between, model.within))
    size = len(within)
    within = (1 - shrinkage) * within + shrinkage * np.trace(within) / size * np.eye(size)
    ratios, vectors = eigh(between, within)
    ratios = np.maximum(ratios, 0)  # rounding
    squared = _symmetric((vectors * (ratios / (1 + 2 * ratios))) @ vectors.T)
    values, sides = np.linalg.eigh(squared)
    root = axes @ sides * np.sqrt(np.maximum(values, 0)) @ (axes @ sides).T
    return _symmetric(root)


def _symmetric(matrix: Matrix) -> Matrix:
    return (matrix + matrix.T) / 2
