"""The size of every face image in the pipeline, as face recognition networks have it since ArcFace."""

SIDE = 112  # pixels
IMAGE_SHAPE = (SIDE, SIDE, 3)  # rows, columns, RGB
