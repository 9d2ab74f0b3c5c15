"""The models that EuclidesDB ships, one folder each; installed as `euclidesdb_models`."""
