"""The builder process: builds an index from a file of vectors, or tries an engine's options.

An engine's library is native code, which can crash, hang or take all memory on vectors that a
client sent, or with options that have not been tried. Here that costs one process: the server
(`index/segment_builder.py`, `engines/trials.py`) learns why it ended, and goes on.

Promises: what is reported as built is on disk, and has been loaded and searched. A build runs at
low priority, and ends with the server. It knows files and engines, and neither the store nor the
network.
"""
