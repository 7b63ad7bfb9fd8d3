"""The size of every face image in the pipeline: the input size of ArcFace and of most later networks."""

SIDE = 112  # pixels
IMAGE_SHAPE = (SIDE, SIDE, 3)  # rows, columns, RGB
