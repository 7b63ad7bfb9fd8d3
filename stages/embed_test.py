"""Embed the images of an external test set with the trained backbone.

Reads   data/tests/<name>.npy, models/backbone.tflite
Writes  data/tests/<name>.embeddings.npy (float32, row i is image i, not normalised), metrics/embed@<name>.json
Run     python stages/embed_test.py <name>

It reads the section `embed:` of params.yaml. An interrupted run goes on from its last finished chunk of images.
"""

import faces.core.portable  # noqa: F401  first, since NumPy and others read its settings when they are imported

from faces.core.params import load_params
from faces.core.run import run
from faces.inference.embedding import embed_by_backbone
from faces.tables.embeddings import EmbedParams
from faces.tables.external_sets import embeddings_path, named_test_set, open_pixels, pixels_path


def main() -> None:
    """Write the embeddings and their metrics."""
    name, _ = named_test_set(__doc__)
    load_params("embed", EmbedParams)  # an error in it comes before one in the images
    pixels = open_pixels(name)
    embed_by_backbone(
        "embed_test",
        lambda start, stop: pixels[start:stop],
        len(pixels),
        [pixels_path(name)],
        embeddings_path(name),
        metrics=f"embed@{name}",
    )


if __name__ == "__main__":
    run(main, takes_arguments=True)
