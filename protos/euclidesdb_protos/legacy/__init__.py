"""Stubs of EuclidesDB's own wire protocol."""
