"""Configuration: INI files in, frozen dataclasses out, one for each section.

An unknown section or key, or a malformed value, raises a ConfigError that names file, section and
key. This package does not know what the values are used for; each search engine declares its own
options.
"""
