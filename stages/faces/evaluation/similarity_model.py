"""The Siamese similarity model: two embeddings -> features of the pair -> Dense gelu -> Dense sigmoid -> probability.

stages/similarity.py trains it with Keras. It is applied here with NumPy, which starts at once, where TensorFlow takes
seconds.
"""

from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, expit

from faces.core.errors import StageError
from faces.core.files import require_file
from faces.core.npy_files import write_npz
from faces.tables.embeddings import unit_length

MODEL_PATH = Path("models/similarity.npz")
PAIRS_AT_ONCE = 8192  # bounds the gathered embeddings and their features at tens of MB

Features = Literal["symmetric", "concatenation"]


def prepared(embeddings: NDArray[np.float32], features: Features) -> NDArray[np.float32]:
    """Return embeddings (N, D) as `pair_features` takes them: of length 1 for symmetric features, else unchanged."""
    return unit_length(embeddings) if features == "symmetric" else embeddings


def pair_features(a: NDArray[np.float32], b: NDArray[np.float32], features: Features) -> NDArray[np.float32]:
    """Return the input of the model for prepared embeddings a[i] and b[i], each (n, D).

    `symmetric`: |a - b|, a * b, and the sum of a * b, which is the cosine: (n, 2 D + 1); the order of a pair makes no
    difference. `concatenation`, as in the notebook: a and b, (n, 2 D).
    """
    if features == "concatenation":
        return np.concatenate([a, b], axis=1)
    products = a * b
    return np.concatenate([np.abs(a - b), products, products.sum(axis=1, keepdims=True)], axis=1)


def feature_count(embedding_size: int, features: Features) -> int:
    """Return the number of features of a pair."""
    return 2 * embedding_size + (features == "symmetric")


class SimilarityModel(NamedTuple):
    """The kind of features, and float32 weights (F, H), (H,), (H, 1), (1,) for F features and H hidden units."""

    features: Features
    hidden_kernel: NDArray[np.float32]
    hidden_bias: NDArray[np.float32]
    output_kernel: NDArray[np.float32]
    output_bias: NDArray[np.float32]

    def predict(self, a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability that prepared embeddings a[i] and b[i], each (n, D), are of one person: (n,)."""
        hidden = pair_features(a, b, self.features) @ self.hidden_kernel + self.hidden_bias
        activated = hidden * (0.5 * (1 + erf(hidden / np.sqrt(2))))  # gelu (Hendrycks, Gimpel 2016), the exact form
        return expit(activated @ self.output_kernel + self.output_bias)[:, 0].astype(np.float32)

    def predict_pairs(
        self, embeddings: NDArray[np.float32], a: NDArray[np.int64], b: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return the probability for rows a[i] and b[i] of embeddings (N, D), `PAIRS_AT_ONCE` at a time: (n,)."""
        probability = np.empty(len(a), dtype=np.float32)
        for start in range(0, len(a), PAIRS_AT_ONCE):
            rows = slice(start, start + PAIRS_AT_ONCE)
            first, second = (prepared(embeddings[side[rows]], self.features) for side in (a, b))
            probability[rows] = self.predict(first, second)
        return probability


def _check_features(features: str) -> Features:
    for name in get_args(Features):
        if features == name:
            return name
    raise ValueError(f"features {features!r}; allowed: {', '.join(get_args(Features))}")


def save_similarity(model: SimilarityModel, path: Path = MODEL_PATH) -> None:
    """Write the model; the same weights give the same bytes."""
    write_npz(path, **model._asdict())


def load_similarity(embedding_size: int, path: Path = MODEL_PATH) -> SimilarityModel:
    """Return the model; StageError if the file is missing, damaged or holds something else."""
    require_file(path)
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            named = {name: arrays[name] for name in arrays.files}
            features = str(named.pop("features"))
            model = SimilarityModel(_check_features(features), **named)
    except FileNotFoundError:
        raise StageError(f"{path} is missing; `dvc repro similarity` makes it, `dvc pull` fetches it") from None
    except Exception as error:  # a damaged zip raises many kinds
        raise StageError(f"{path} is not a similarity model: {error}") from None
    hidden = model.hidden_kernel.shape[-1] if model.hidden_kernel.ndim else 0
    weights = model[1:]
    inputs = feature_count(embedding_size, model.features)
    if (shapes := [array.shape for array in weights]) != [(inputs, hidden), (hidden,), (hidden, 1), (1,)]:
        raise StageError(f"{path}: weights of shapes {shapes} are not a model of two embeddings of {embedding_size}")
    if not all(array.dtype == np.float32 and np.isfinite(array).all() for array in weights):
        raise StageError(f"{path}: has weights that are not finite float32 numbers")
    return model
