"""The training batches of the small project."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faces.tables.split_table import part_images, read_split
from faces.training import batches as batches_module
from faces.training.batches import image_groups
from small_project import write_params
from training_projects import NO_CHANGE, project_batches, train_params


def test_an_epoch_shows_each_training_image_once_with_its_label(project: Path) -> None:
    batches = project_batches(NO_CHANGE, batch_size=4)
    split = read_split(names=True)
    pixels = [np.asarray(Image.open(Path("images") / path)) for path in split["path"]]
    shown = []
    for images, labels in batches.epoch(3):
        assert images.shape == (4, 112, 112, 3) and images.dtype == np.float32
        for image, label in zip(images, labels, strict=True):
            (number,) = [n for n, known in enumerate(pixels) if np.array_equal(image, known)]
            assert split["label"][number] == label and split["part"][number] == "train"
            shown.append(number)
    assert len(set(shown)) == len(shown) == 4 * len(batches)
    assert len(part_images(split, "train")) - len(shown) < 4


def test_epochs_differ_and_repeat(project: Path) -> None:
    batches = project_batches()
    again = project_batches()
    first, second = (np.concatenate([images for images, _ in batches.epoch(epoch)]) for epoch in (0, 1))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(second, np.concatenate([images for images, _ in again.epoch(1)]))


@pytest.mark.parametrize("one_of_seven", [False, True])
def test_an_epoch_is_the_same_by_any_number_of_threads(
    project: Path, monkeypatch: pytest.MonkeyPatch, one_of_seven: bool
) -> None:
    write_params(project, augment={"one_of_seven": one_of_seven, "flip": True})
    batches = project_batches(batch_size=1, epoch_images=64)
    epochs = []
    for cores in (1, 64):
        monkeypatch.setattr(batches_module, "available_cores", lambda cores=cores: cores)
        epochs.append([np.concatenate(of_kind) for of_kind in zip(*batches.epoch(0), strict=True)])
    for one, many in zip(*epochs, strict=True):
        np.testing.assert_array_equal(one, many)


def test_epochs_of_so_many_images_go_through_all_of_them_in_turn(project: Path) -> None:
    batches = project_batches(epoch_images=10, batch_size=5)
    everything = sorted(part_images(read_split(), "train"))
    assert len(batches) == 2 and len(everything) == 16
    row = np.concatenate([batches.order(epoch) for epoch in range(8)])
    assert len(row) == 80
    assert [sorted(row[start : start + 16]) for start in range(0, 80, 16)] == [everything] * 5
    large = project_batches(epoch_images=40)
    np.testing.assert_array_equal(np.concatenate([large.order(0), large.order(1)]), row)


def test_balanced_sources_give_as_many_images_to_every_batch(project: Path) -> None:
    split = read_split().astype({"source": str})
    train_images = part_images(split, "train")
    split.loc[train_images[:4], "source"] = "few"
    batches = project_batches(NO_CHANGE)
    batches.params = train_params(epoch_images=24, batch_size=8, balance="sources")
    batches.groups = image_groups(split, batches.params)
    assert [len(group) for group in batches.groups] == [12, 4]
    for epoch in range(3):
        order = batches.order(epoch)
        few = np.isin(order, train_images[:4]).reshape(3, 8)
        assert few.sum(axis=1).tolist() == [4, 4, 4]
        # 12 images of either source: all of the larger one once, and all of the smaller one three times.
        assert sorted(order) == sorted([*train_images[4:], *np.repeat(train_images[:4], 3)])
    assert batches.order(0).tolist() != batches.order(1).tolist()


def test_fewer_images_than_a_batch_are_one_batch(project: Path) -> None:
    batches = project_batches(batch_size=500)
    ((images, labels),) = batches.epoch(0)
    assert len(images) == len(labels) == len(part_images(read_split(), "train"))
