"""Generated stubs of EuclidesDB's wire protocols: `legacy` (C++ EuclidesDB) and `v1` (ours)."""
