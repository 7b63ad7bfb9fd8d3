"""A camera without rotation, blur, noise or compression."""

import numpy as np

from faces.core.image_size import SIDE
from faces.drawing.camera import Camera

STILL = Camera(
    yaw=0,
    pitch=0,
    roll=0,
    distance=2.0,
    jitter=np.zeros((5, 2), np.float32),
    exposure=0,
    blur=0,
    blur_angle=0,
    blur_stretch=1,
    noise=0,
    resolution=SIDE,
    jpeg_quality=100,
)
