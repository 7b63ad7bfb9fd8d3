"""Draws photographs of people who do not exist: geometry, skin and hair, light, camera."""
