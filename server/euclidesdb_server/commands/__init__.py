"""The commands of the command line: one module each, with `run(options) -> exit code`.

A command prints its results, and its errors to stderr in one line. It is imported only when it is
used, so a command whose extra is not installed does not affect the others. This package does not
know how the command line is parsed: `__main__` does that.
"""
