"""Generated stubs of the wire protocol of EuclidesDB (C++)."""
