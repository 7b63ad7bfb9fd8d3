"""The back end: after the last epoch, a map of embeddings that is learnt from those of the training people."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from faces.core.params import Params
from faces.core.sampling import sample_whole_people
from faces.core.terminal import say, warn
from faces.core.threads import load_threads
from faces.training.batches import Batches, BatchSize, Seed
from faces.training.joint_bayesian import fit_joint_bayesian, linear_map

MAX_IMAGES = 50_000  # that it learns from, of people drawn at random: some 400 MB with 512 numbers
SMALLEST_SPREAD = 1e-3  # of embeddings around their mean, as a share of its length; float32 rounds to 1e-6 or so of it


class BackEndParams(Params):
    """Parameters of the back end, part of the section `train:`."""

    back_end: Literal["none", "joint_bayesian"]
    batch_size: BatchSize
    seed: Seed


def learn_back_end(
    backbone: Any, embed: Callable[[NDArray[np.uint8]], Any], batches: Batches, params: BackEndParams
) -> None:
    """Put joint Bayesian's map into the last layer of a trained backbone; if nothing can be learnt, warn and keep it.

    It learns from means over image and mirror image of the training images, unchanged. `embed` runs the backbone.
    """
    from faces.network.last_layer import map_embeddings

    training = np.sort(np.concatenate(batches.groups))
    numbers = sample_whole_people(training, batches.labels, MAX_IMAGES, params.seed)
    if len(np.unique(labels := batches.labels[numbers])) == len(labels):
        warn("params.yaml: train.back_end: joint_bayesian: no training person has two images; it is left out")
        return

    def load(batch: NDArray[np.int64]) -> NDArray[np.float64]:
        pixels = batches.images[batch]
        one, mirrored = (np.asarray(embed(faces), dtype=np.float64) for faces in (pixels, pixels[:, :, ::-1]))
        return (one + mirrored) / 2

    parts = np.split(numbers, range(params.batch_size, len(numbers), params.batch_size))
    with ThreadPoolExecutor(load_threads()) as pool:
        embeddings = np.concatenate(list(pool.map(load, parts)))
    size, spread = np.linalg.norm(embeddings.mean(axis=0)), np.sqrt(embeddings.var(axis=0).sum())
    if spread < SMALLEST_SPREAD * size:
        warn(
            "params.yaml: train.back_end: joint_bayesian: it is left out, since all training images have nearly the "
            f"same embedding ({spread:.2g} from their mean of length {size:.2g}): the network has learnt too little"
        )
        return
    model = fit_joint_bayesian(embeddings, labels)
    map_embeddings(backbone, model.mean, linear_map(model))
    say(
        "a joint Bayesian back end, learnt from the embeddings of "
        f"{len(labels)} training images of {len(np.unique(labels))} people, is now part of the last layer"
    )
