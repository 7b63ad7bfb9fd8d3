"""Pack one source of face images into arrays of 112 x 112 RGB images, and tables of where each came from.

Reads   the folder `sources.<source>.path` of params.yaml, by its `format` (faces/images/listing.py)
            folder    <subject>/<image> or <subject>/<any folders>/<image>, each image a cropped and aligned face
                      with `depth: 2`, <group>/<subject>/… and so on; a subject's name is then <group>/<subject>
            photos    the same, each image a photo; its face is found and aligned (faces/images/detection.py)
            recordio  train.rec, train.idx and property, as in InsightFace's data sets
Writes  data/packed/<source>/<shard>.npy     uint8 (N, 112, 112, 3), RGB; shards are numbered from 00000
        data/packed/<source>/<shard>.csv     subject,path: row i is image i; path is relative to the folder, or a key
        data/packed/<source>/shards.csv      shard,images: the shards in order, and the number of images in each
        data/attributes/<source>.csv         the rows of the folder's attributes.csv, if any, for the packed images
        metrics/pack@<source>.json           counts
        data/rejected/<source>.csv           path,reason,detail: files like images that could not be used
        metrics/pack/<source>.png            some images before and after, and some rejected ones; kept by DVC, not by
                                             Git, because it shows faces
Run     python stages/pack.py <source>

An image is a file with one of the endings .png, .jpg, .jpeg, .jfif, .bmp, .webp, .ppm, .pgm, .gif, .tif, .tiff and
.avif, in any case, or a record of train.rec. Its content decides which of these formats it has. In faces/images,
image_folder.py and recordio.py say how a source is listed, decoding.py how an image becomes 112 x 112 pixels.

Subjects are packed in order of code points, and so are the images of each; those of train.rec in order of labels and
keys as numbers. `max_images_per_subject` keeps the first usable images and opens no others; `max_subjects` keeps the
first subjects with at least `min_images_per_subject` of them.

A shard holds whole subjects, with at most `shard_images` images in all (faces/images/shards.py). It is packed again
only if its files in the source have changed, so a new subject costs one shard. Packed shards are kept below
models/checkpoints, as hard links to data/packed where the file system has hard links. An interrupted run resumes after
the last finished subject, unless a file of that shard has changed since.
"""

import faces.core.portable  # noqa: F401  first, since NumPy and others read its settings when they are imported

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from faces.core.checkpoints import checkpoint_folder
from faces.core.csv_files import write_csv
from faces.core.errors import StageError
from faces.core.files import write_metrics
from faces.core.params import load_params
from faces.core.run import run
from faces.core.terminal import say, warn
from faces.core.threads import load_threads
from faces.images.before_after import sample_images, write_sheet
from faces.images.decoding import DecodingParams
from faces.images.detection import PhotosParams
from faces.images.finished_shards import PackedShard, delete_other_shards, packed_at, publish_shards
from faces.images.listing import FORMATS, SourceListing, check_unchanged, find_source, list_source, path_parameter
from faces.images.packing import Packing, ShardParams, SubjectParams, face_reader, pack_source
from faces.images.plausibility import SampledImage, spread, warn_about_sample
from faces.images.rejection import REASONS, Rejected, summarise_rejects
from faces.tables.attributes import attributes_path, find_attributes, match_attributes
from faces.tables.sources import Source, load_sources, packed_folder, rejects_path


class PackParams(SubjectParams, ShardParams):
    """The section `pack:` of params.yaml; each half stands beside the code that reads it."""


def find_checkpoints(
    name: str, source: Source, params: PackParams, decoding: DecodingParams, photos: PhotosParams | None
) -> Path:
    """Return the folder in which shards packed with these parameters are kept.

    ShardParams decide only which subjects a shard has, and the name of its own folder tells that.
    """
    extra = [
        source.path,
        source.format,
        source.channels,
        decoding.model_dump(exclude={"workers"}),
        [photos.model_dump(), load_threads()] if photos else None,
    ]
    return checkpoint_folder("pack", params, ignored=set(ShardParams.model_fields), extra=extra, source=name)


def check_packed(
    name: str, source: Source, shards: list[PackedShard], params: PackParams, rejected: list[Rejected]
) -> None:
    """Raise StageError if fewer than two subjects are left."""
    if (subjects := sum(shard.subjects for shard in shards)) < 2:
        raise StageError(
            f"{path_parameter(name, source)}: {subjects} subject(s) with {params.min_images_per_subject} or more "
            f"usable images (pack.min_images_per_subject); needed: two at least{summarise_rejects(rejected)}"
        )


def attribute_tables(root: Path, shards: list[PackedShard]) -> Iterator[pd.DataFrame]:
    """Yield, for each shard, the attributes of its images by the folder's attributes.csv, and their row in the source.

    Columns row, then those of attributes.csv, without path and subject.
    """
    first, attributes = 0, find_attributes(root)
    for shard in shards:
        table = match_attributes(attributes, shard.read_table())
        table.insert(0, "row", range(first, first + len(table)))
        first += len(table)
        yield table


def describe(shards: list[PackedShard], listing: SourceListing, rejected: list[Rejected]) -> dict[str, float]:
    """Return the counts; `subjects_dropped` had too few usable images, or came after `max_subjects` others.

    `failure_to_enrol` is the share of files that gave no face, of those that were tried (ISO/IEC 19795-1).
    """
    counts = Counter(row.reason for row in rejected)
    subjects = sum(shard.subjects for shard in shards)
    images = sum(shard.images for shard in shards)
    return {
        "images": images,
        "subjects": subjects,
        "subjects_dropped": len(listing.subjects) - subjects,
        "files_ignored": listing.ignored,
        "rejected": len(rejected),
        "failure_to_enrol": len(rejected) / (images + len(rejected)),
        **{f"rejected_{reason}": counts[reason] for reason in REASONS},
    }


def report(name: str, counts: dict[str, float], shards: list[PackedShard]) -> None:
    """Print the numbers of images, subjects and shards."""
    if counts["rejected"]:
        warn(f"{name}: {counts['rejected']} file(s) cannot be used; {rejects_path(name)} lists each with its reason")
    reused = sum(shard.reused for shard in shards)
    say(
        f"{name}: {counts['images']} images of {counts['subjects']} subjects, in {len(shards)} shard(s)"
        f"{f', {reused} of them packed before' if reused else ''}"
    )


def warn_about_images(name: str, source: Source, listing: SourceListing, shards: list[PackedShard]) -> None:
    """Warn if a sample of the packed images looks like photos in a source of aligned faces, or has channels swapped."""
    places = spread(sum(shard.images for shard in shards))
    sample = [
        SampledImage(path, find_source(Path(source.path), listing, subject, path), pixels)
        for subject, path, pixels in packed_at(shards, places)
    ]
    photos = "" if FORMATS[source.format].photos else "format: photos"
    warn_about_sample(name, sample, "source", source.channels, photos)


def _arguments() -> argparse.Namespace:
    reasons = "\n".join(["reasons for rejection:", *(f"  {reason:16} {text}" for reason, text in REASONS.items())])
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, epilog=reasons
    )
    parser.add_argument("source", help="a name from the section `sources:` of params.yaml")
    return parser.parse_args()


def main() -> None:
    """Pack the source named on the command line."""
    name = _arguments().source
    sources, params = load_sources(), load_params("pack", PackParams)
    decoding = load_params("decoding", DecodingParams)
    if name not in sources:
        raise StageError(f"params.yaml: sources: {name!r} is not among them; allowed: {', '.join(sources)}")
    source, root = sources[name], Path(sources[name].path)
    listing = list_source(name, source)
    photos = load_params("photos", PhotosParams) if FORMATS[source.format].photos else None
    packing = Packing(root, listing, face_reader(decoding, photos, source.channels), params, decoding.workers)
    checkpoints = find_checkpoints(name, source, params, decoding, photos)

    shards = pack_source(packing, params, checkpoints, f"packing {name}")
    rejected = sorted([*listing.rejected, *(row for shard in shards for row in shard.read_rejects())])
    check_unchanged(name, source, listing)
    check_packed(name, source, shards, params, rejected)

    counts = describe(shards, listing, rejected)
    write_sheet(name, root, listing, decoding.limits, sample_images(shards, rejected, source.depth or 1))
    write_csv(attributes_path(name), attribute_tables(root, shards))
    write_csv(rejects_path(name), pd.DataFrame(rejected, columns=Rejected._fields))
    write_metrics(Path(f"metrics/pack@{name}.json"), counts)
    publish_shards(shards, packed_folder(name))
    delete_other_shards(shards, checkpoints)
    warn_about_images(name, source, listing, shards)
    report(name, counts, shards)


if __name__ == "__main__":
    run(main, takes_arguments=True)
