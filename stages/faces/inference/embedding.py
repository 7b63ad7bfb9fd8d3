"""Embedding many images by the converted backbone, in chunks, so that an interrupted run resumes."""

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.core.checkpoints import ResumableFile, checkpoint_folder, finish_checkpoints
from faces.core.files import replacing, write_metrics
from faces.core.npy_files import open_npy, write_npy_header
from faces.core.params import load_params
from faces.core.terminal import progress, say
from faces.core.threads import in_order
from faces.inference.embedder import CONVERTED_PATH, load_embedder
from faces.tables.embeddings import EmbedParams, lengths

CHUNK_IMAGES = 1024  # between checkpoints: some seconds of work

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # images (n, 112, 112, 3) -> embeddings (n, D)
Load = Callable[[int, int], NDArray[np.uint8]]  # (start, stop) -> images (stop - start, 112, 112, 3)


def embed_in_chunks(embed: Embed, load: Load, total: int, title: str, checkpoints: Path) -> Path:
    """Embed `total` images while the next ones are loaded; return a .npy file of float32 (total, D).

    Args:
        embed: embeds images.
        load: loads images by their numbers; called on another thread.
        total: number of images.
        title: label of the progress bar.
        checkpoints: folder of the file, which a later run goes on writing if this one is interrupted.
    """
    with ResumableFile(checkpoints / "embeddings.npy") as file, ThreadPoolExecutor(1) as worker:
        done = len(file.notes) * CHUNK_IMAGES
        if done:
            say(f"resuming after {min(done, total)} of {total} images, from {checkpoints}")
        starts = range(done, total, CHUNK_IMAGES)
        loaded = in_order(worker, lambda start: load(start, min(start + CHUNK_IMAGES, total)), starts, ahead=2)
        for start, images in zip(starts, progress(loaded, title, len(starts), "chunk"), strict=True):
            embeddings = np.ascontiguousarray(embed(images), dtype="<f4")
            if start == 0:
                write_npy_header(file.file, "<f4", (total, embeddings.shape[1]))
            file.file.write(embeddings.data)
            file.note(start)
    return file.path


def embed_by_backbone(stage: str, load: Load, total: int, inputs: list[Path], output: Path, metrics: str) -> None:
    """Write the embeddings of `total` images by models/backbone.tflite, float32 (total, D), and their metrics.

    Args:
        stage: name of the stage that embeds.
        load: loads images by their numbers.
        total: number of images.
        inputs: the files that the images come from.
        output: the .npy file.
        metrics: name of metrics/<metrics>.json, and of metrics/speed/<metrics>.json with images a second, which is not
            written if an earlier run embedded some of the images.
    """
    params = load_params("embed", EmbedParams)
    embedder = load_embedder(workers=params.workers, flip=params.flip)
    checkpoints = checkpoint_folder(stage, params, [*inputs, CONVERTED_PATH], ignored={"workers"})
    resumed = checkpoints.exists()
    began = time.perf_counter()
    embedded = embed_in_chunks(embedder, load, total, "embedding", checkpoints)
    if not resumed:
        speed = {"images_per_second": total / (time.perf_counter() - began)}
        write_metrics(Path(f"metrics/speed/{metrics}.json"), speed)
    write_metrics(Path(f"metrics/{metrics}.json"), embedding_metrics(open_npy(embedded)))
    with replacing(output) as temporary:
        shutil.move(embedded, temporary)
    finish_checkpoints(checkpoints)


def embedding_metrics(embeddings: NDArray[Any]) -> dict[str, float | int]:
    """Return number, size and lengths of embeddings (N, D); StageError if one is not finite or has length 0."""
    norms = lengths(embeddings, "the embedding of image", ": training diverged; lower train.learning_rate")
    return {
        "images": len(embeddings),
        "embedding_size": embeddings.shape[1],
        "norm_mean": float(norms.mean()),
        "norm_std": float(norms.std()),
        "norm_min": float(norms.min()),
        "norm_max": float(norms.max()),
    }
