"""How many photos of one sitting are taken for copies: frontal, nearly the same, in colour and in grey.

It draws people as `synthesize` does, each in one light before one background, who change pose, gaze and expression a
little from photo to photo, as in the ORL database of faces. No photo is a copy of another.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from duplicates import DuplicatesParams
from faces.core.params import load_params
from faces.drawing.head import draw_shape
from faces.drawing.look import make_look
from faces.drawing.photograph import photograph
from faces.drawing.scene import SceneParams, draw_scene, random_generator
from faces.drawing.traits import draw_traits
from faces.search.copies import LUMINANCE, are_copies
from faces.search.thumbnails import directions, thumbnails
from synthesize import SynthesizeParams

PEOPLE, PHOTOS = 40, 10
FRONTAL = {"yaw_degrees": 8.0, "pitch_degrees": 5.0, "roll_degrees": 4.0, "gaze_degrees": 10.0}
NO_GRAIN = {"noise": 0.0}  # it would be the same in all photos of a sitting, as the background is
OCCLUDERS = ("glasses", "sunglasses", "mask", "cap", "hand", "bar")


def sitting(person: int, params: SceneParams) -> NDArray[np.uint8]:
    """Return the photos of one person, uint8 (10, 112, 112, 3)."""
    rng = random_generator(0, person)
    shape, look = draw_shape(rng, 1.0), make_look(rng, draw_traits(rng, 1.0))
    first = draw_scene(random_generator(0, person, 0), params)
    photos = []
    for number in range(PHOTOS):
        scene = draw_scene(random_generator(0, person, number), params)
        pose = {name: getattr(scene.camera, name) for name in ("yaw", "pitch", "roll", "jitter")}
        scene = replace(first, camera=replace(first.camera, **pose), expression=scene.expression, gaze=scene.gaze)
        photos.append(photograph(shape, look, scene, random_generator(1, person)))
    return np.stack(photos)


def in_grey(photos: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return photos (n, 112, 112, 3) in grey."""
    return np.rint(photos.astype(np.float32) @ LUMINANCE).astype(np.uint8)[..., None].repeat(3, axis=-1)


def count(photos: NDArray[np.uint8], likeness: float) -> Iterator[NDArray[np.int64]]:
    """Yield the pairs of one sitting that pass the first look, and those of them that pass the second: (k, 2)."""
    vectors = directions(thumbnails(photos))
    pairs = np.array(list(combinations(range(len(photos)), 2)))
    alike = pairs[np.einsum("nd,nd->n", vectors[pairs[:, 0]], vectors[pairs[:, 1]]) >= likeness]
    yield alike
    yield alike[are_copies(photos, photos, alike)]


def main() -> None:
    """Print the table."""
    drawn = load_params("synthesize", SynthesizeParams).model_copy(
        update=FRONTAL | NO_GRAIN | {f"{name}_probability": 0.0 for name in OCCLUDERS}
    )
    likeness = load_params("duplicates", DuplicatesParams).likeness
    sittings = [sitting(person, drawn) for person in range(PEOPLE)]
    pairs = PEOPLE * PHOTOS * (PHOTOS - 1) // 2
    print(f"{PEOPLE} sittings of {PHOTOS} photos, {pairs} pairs, none of copies\n")
    print(
        f"{'':8}{'pairs of likeness ' + str(likeness):>24}{'photos in them':>18}{'taken for copies':>20}{'photos':>10}"
    )
    for name, change in (("colour", lambda photos: photos), ("grey", in_grey)):
        looks = [list(count(change(photos), likeness)) for photos in sittings]
        numbers = []
        for look in (0, 1):
            numbers += [sum(len(found[look]) for found in looks), sum(len(np.unique(found[look])) for found in looks)]
        print(f"{name:8}{numbers[0]:24}{numbers[1]:18}{numbers[2]:20}{numbers[3]:10}")


if __name__ == "__main__":
    main()
