"""The wire protocols, as generated stubs: `v1`, and `legacy`, which EuclidesDB (C++) speaks."""
