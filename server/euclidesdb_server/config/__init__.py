"""Configuration: INI files in, frozen dataclasses out, one for each section.

Promises that an unknown section or key, or a malformed value, is a ConfigError that names file,
section and key. Does not know what the values are used for; the options of a search engine are
declared by the engine.
"""
