"""ArcFace training: loss, schedule, batches, augmentation, devices, validation, loop."""
