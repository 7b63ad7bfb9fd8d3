"""From image files to packed 112 x 112 images: listing, decoding, detection, alignment, shards."""
