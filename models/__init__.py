"""The models that come with EuclidesDB, a folder each; installed as `euclidesdb_models`."""
