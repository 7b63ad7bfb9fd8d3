"""The notebook's augmentation: to each image one of seven changes, drawn at random. imgaug is imported here alone."""

import numpy as np
from numpy.typing import NDArray

np.bool = np.bool_  # type: ignore[attr-defined]  # imgaug 0.4.0 asks for the name that NumPy 1.24 removed

import imgaug.augmenters as iaa  # noqa: E402


class Augmenter:
    """Identity, grey, salt and pepper, solarize, slight blur, gamma or colour quantisation: one an image."""

    def __init__(self) -> None:
        """Set the seven changes up, with the notebook's strengths."""
        self._one_of_seven = iaa.SomeOf(
            1,
            [
                iaa.Identity(),
                iaa.Grayscale(alpha=1.0),
                iaa.SaltAndPepper(p=0.1),
                iaa.Solarize(p=0.8),
                iaa.GaussianBlur(sigma=(0.25, 0.5)),
                iaa.GammaContrast(gamma=(0.5, 1.5)),
                iaa.UniformColorQuantizationToNBits(nb_bits=(3, 8)),
            ],
        )

    def __call__(self, images: NDArray[np.uint8], seed: tuple[int, ...]) -> NDArray[np.uint8]:
        """Return changed copies of uint8 images (n, H, W, 3); the same images and seed give the same bytes."""
        self._one_of_seven.seed_(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        return np.stack(self._one_of_seven(images=list(images)))
