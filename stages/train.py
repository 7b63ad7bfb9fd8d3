"""Train MobileFaceNet with ArcFace on the `train` part of the split.

Reads   data/packed, data/split.csv, and the files that train.initial_weights and train.teacher name
Writes  models/backbone.{json,weights.h5}, metrics/train.json, metrics/train/ (curves per epoch)
Run     python stages/train.py

After each epoch the network verifies images that it is not trained on: those of `validation_unseen`, or else of
`validation`, by which `keep` and `patience` can choose an epoch. If the split has neither part, they are images of
`test_seen`, which choose nothing.

An interrupted run resumes after its last finished epoch; models/checkpoints keeps the last `keep_checkpoints` of them.

`devices` devices share each batch. Several processes train together if each is started with a TF_CONFIG; the chief
writes all files, the others only take part (faces/training/distribution.py).

Where to look, in faces/training:
    schedule.py       learning rate
    batches.py        order of images, threads that load them
    augmentation.py   changes to images, parameters in `augment:`
    model.py          backbone, head and optimizer, built from faces/network
    losses.py         the loss; add another one here
    teacher.py        embeddings of another network, which this one learns to match
    training_step.py  gradient of a batch
    loop.py           epochs, checkpoints
    validation.py     metrics after an epoch, choice of the best one
    back_end.py       joint_bayesian.py's map of embeddings, put into the last layer after the last epoch
"""

import faces.core.portable  # noqa: F401  first, since NumPy and others read its settings when they are imported

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from faces.core.checkpoints import checkpoint_folder, finish_checkpoints, work_fingerprint
from faces.core.errors import StageError
from faces.core.files import write_metrics
from faces.core.params import load_params
from faces.core.run import run
from faces.core.terminal import say, warn
from faces.core.threads import fixed_threads, load_threads
from faces.network.architecture import extract_architecture
from faces.network.weight_files import differences
from faces.tables.packed_images import PackedImages
from faces.tables.split_table import SPLIT_PATH, TEST_SEEN, count_training_classes, image_labels, read_split
from faces.training.augmentation import AugmentParams, PhotoAugmenter
from faces.training.back_end import BackEndParams, learn_back_end
from faces.training.batches import Batches, BatchParams, image_groups
from faces.training.distribution import (
    Devices,
    Worker,
    check_same_work,
    check_sharing,
    lost_worker_reported,
    this_worker,
)
from faces.training.loop import LoopParams, Trained, Training, train_as_chief, train_as_worker
from faces.training.model import FROM_SCRATCH, ModelParams, TrainingModel, build_model
from faces.training.teacher import NO_TEACHER, Teacher, TeacherParams, ask_teacher, check_teacher
from faces.training.validation import Diverged, Validation, check_choice

CURVES = Path("metrics/train")
MIN_STEPS = 200  # after 30 steps, a network for 12 people still guessed; after 200 it did not
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


class TrainParams(LoopParams, BatchParams, ModelParams, BackEndParams):
    """The section `train:`; each module of faces/training declares the parameters that it reads."""


class Data(NamedTuple):
    """The data of a training, the number of classes, and the files that all of it comes from."""

    batches: Batches
    validation: Validation
    classes: int
    files: list[Path]


def check_initial_weights(params: ModelParams) -> None:
    """Raise StageError unless `initial_weights` names weights of this network that training does not overwrite.

    Only shapes are looked at, since `check` calls it too; the values are checked when they are loaded.
    """
    path = Path(params.initial_weights)
    if path.resolve() == Path("models/backbone.weights.h5").resolve():
        raise StageError(
            f"params.yaml: train.initial_weights: {str(path)!r}: training replaces this file; start from a copy of it"
        )
    if not path.is_file():
        raise StageError(
            f"params.yaml: train.initial_weights: {str(path)!r}: no such file; "
            f"name a weights file, or {FROM_SCRATCH} to start from random weights"
        )
    with open(path, "rb") as file:
        start = file.read(len(HDF5_SIGNATURE))
        if start.startswith(b"PK") and path.suffix == ".keras":
            raise StageError(
                f"params.yaml: train.initial_weights: {str(path)!r}: a whole Keras model; name the weights that it was "
                "exported from, a copy of models/backbone.weights.h5 of its commit"
            )
        if path != FROM_SCRATCH and start != HDF5_SIGNATURE:
            raise StageError(f"params.yaml: train.initial_weights: {str(path)!r}: not an HDF5 file, as weights are")
    if path != FROM_SCRATCH and (others := differences(path, params)):
        raise StageError(
            "\n".join(
                f"params.yaml: train.{key}: {wanted!r}: train.initial_weights, {str(path)!r}, has {stored!r}; set "
                f"train.{key} to that, or name other weights"
                for key, (wanted, stored) in others.items()
            )
        )


def read_data(params: TrainParams, augment: AugmentParams) -> Data:
    """Return batches and validation images of the split; warn if they make few steps."""
    split = read_split()
    images = PackedImages(split)
    batches = Batches(images, image_groups(split, params), image_labels(split), params, PhotoAugmenter(augment))
    if 0 < (steps := len(batches) * params.epochs) < MIN_STEPS:
        warn(
            f"{len(batches)} batches of {params.batch_size} images x {params.epochs} epochs = {steps} steps: too few "
            "to learn much; raise train.epochs, or set train.epoch_images"
        )
    validation = Validation(images, split, params)
    check_choice(validation.part != TEST_SEEN and validation.has_both, params)
    if validation.has_both:
        say(f"validation_auc and validation_eer are of {len(validation.numbers)} images of `{validation.part}`")
    else:
        warn(
            f"nothing is verified after an epoch: the {len(validation.numbers)} image(s) for that make no genuine and "
            "impostor pairs; raise split.test_size or split.validation_subjects, or add images"
        )
    files = [SPLIT_PATH, Path(params.initial_weights), Path(params.teacher), *images.paths]
    return Data(batches, validation, count_training_classes(split), files)


def be_taught(params: TrainParams, batches: Batches, worker: Worker, devices: Devices) -> Teacher:
    """Return the teacher's embeddings; the chief asks it, and the other processes get them by broadcast."""
    own = TeacherParams(**params.model_dump(include=set(TeacherParams.model_fields)))
    numbers = np.sort(np.concatenate(batches.groups))
    embeddings = np.zeros((len(numbers), params.embedding_size), np.float32)
    if worker.is_chief:
        embeddings = ask_teacher(own, batches.images, numbers, batches.labels)
    return Teacher(numbers, devices.broadcast_array(embeddings))


def train(params: TrainParams, augment: AugmentParams, worker: Worker) -> None:
    """Train all epochs that no former run has finished; the chief writes the outputs."""
    data = read_data(params, augment)
    key: Any = {"ignored": {"keep_checkpoints"}, "extra": [augment.model_dump(mode="json"), load_threads()]}
    folder = checkpoint_folder("train", params, data.files, **key) if worker.is_chief else None
    fingerprint = folder.name if folder else work_fingerprint("train", params, data.files, **key)
    model = build_model(params, data.classes, worker)
    check_same_work(model.devices, fingerprint)
    if Path(params.teacher) != NO_TEACHER:
        data.batches.teacher = be_taught(params, data.batches, worker, model.devices)
    training = Training(model, data.batches, data.validation, params)
    trained = None
    try:
        if folder:
            trained = train_as_chief(training, folder, CURVES)
        else:
            train_as_worker(training)
    except Diverged as sign:
        raise StageError(
            f"params.yaml: train.learning_rate: {params.learning_rate}: training diverged ({sign}); choose a lower one"
        ) from None
    model.devices.broadcast(None)  # no process ends before the chief has saved its last checkpoint
    if folder and trained:
        if params.back_end == "joint_bayesian":
            learn_back_end(model.backbone, model.embed, data.batches, params)
            measured = data.validation.measure(model.embed)
            trained.metrics.update({f"back_end_{name}": value for name, value in measured.items()})
        write_outputs(model, trained, params, folder)


def write_outputs(model: TrainingModel, trained: Trained, params: TrainParams, checkpoints: Path) -> None:
    """Write the backbone and its metrics, and mark the checkpoints as finished."""
    from faces.network.backbone import WEIGHTS_PATH, save_backbone

    save_backbone(model.backbone, extract_architecture(params))
    write_metrics(Path("metrics/train.json"), trained.metrics)
    if trained.images_per_second:
        write_metrics(Path("metrics/speed/train.json"), {"images_per_second": trained.images_per_second})
    finish_checkpoints(checkpoints, output=WEIGHTS_PATH)


def main() -> None:
    """Check the parameters, then train, alone or with other processes."""
    params, augment = load_params("train", TrainParams), load_params("augment", AugmentParams)
    check_initial_weights(params)
    check_teacher(params)
    worker = this_worker()
    check_sharing(params, worker)
    with fixed_threads(load_threads()), lost_worker_reported(worker):
        train(params, augment, worker)


if __name__ == "__main__":
    run(main, exclusive=lambda: this_worker().is_chief)
