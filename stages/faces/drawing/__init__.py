"""Synthetic faces: heads, skin, occlusions, light and camera."""
