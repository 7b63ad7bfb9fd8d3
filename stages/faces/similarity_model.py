"""The Siamese similarity model on two embeddings: concatenate, Dense gelu, Dense sigmoid.

Training is Keras's business (stages/similarity.py); applying it takes three lines of NumPy, which start at once where
TensorFlow takes seconds.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, expit

from faces.files import replacing
from faces.stage import StageError

MODEL_PATH = Path("models/similarity.npz")
PAIRS_AT_ONCE = 16384  # bounds the gathered embeddings at tens of MB


class SimilarityModel(NamedTuple):
    """Weights: (2 D, H), (H,), (H, 1), (1,), float32."""

    hidden_kernel: NDArray[np.float32]
    hidden_bias: NDArray[np.float32]
    output_kernel: NDArray[np.float32]
    output_bias: NDArray[np.float32]

    def predict(self, a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability that embeddings a[i] and b[i], each (n, D), are of one person, shape (n,)."""
        size = len(self.hidden_kernel) // 2  # a @ upper + b @ lower is [a, b] @ kernel without the copy
        hidden = a @ self.hidden_kernel[:size] + b @ self.hidden_kernel[size:] + self.hidden_bias
        activated = hidden * (0.5 * (1 + erf(hidden / np.sqrt(2))))  # gelu (Hendrycks, Gimpel 2016), the exact form
        return expit(activated @ self.output_kernel + self.output_bias)[:, 0].astype(np.float32)

    def predict_pairs(
        self, embeddings: NDArray[np.float32], a: NDArray[np.int64], b: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return `predict` of rows a[i] and b[i] of embeddings (N, D), some at a time: shape (len(a),)."""
        probability = np.empty(len(a), dtype=np.float32)
        for start in range(0, len(a), PAIRS_AT_ONCE):
            rows = slice(start, start + PAIRS_AT_ONCE)
            probability[rows] = self.predict(embeddings[a[rows]], embeddings[b[rows]])
        return probability


def save_similarity(model: SimilarityModel, path: Path = MODEL_PATH) -> None:
    """Write the weights; the same weights give the same bytes."""
    with replacing(path) as temporary:
        np.savez(temporary, **model._asdict())


def load_similarity(embedding_size: int, path: Path = MODEL_PATH) -> SimilarityModel:
    """Return the model; StageError if the file is missing, damaged or holds something else."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            model = SimilarityModel(**{name: arrays[name] for name in arrays.files})
    except FileNotFoundError:
        raise StageError(f"{path} is missing; `dvc repro similarity` makes it, `dvc pull` fetches it") from None
    except Exception as error:  # a damaged zip raises many kinds
        raise StageError(f"{path} is not a similarity model: {error}") from None
    hidden = model.hidden_kernel.shape[-1] if model.hidden_kernel.ndim else 0
    if [array.shape for array in model] != [(2 * embedding_size, hidden), (hidden,), (hidden, 1), (1,)]:
        shapes = [array.shape for array in model]
        raise StageError(f"{path}: weights of shapes {shapes} are not a model of two embeddings of {embedding_size}")
    if not all(array.dtype == np.float32 and np.isfinite(array).all() for array in model):
        raise StageError(f"{path}: has weights that are not finite float32 numbers")
    return model
