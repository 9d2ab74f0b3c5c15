"""The commands of the command line.

A module declares a command, or a family of them, with click, and imports what it needs only when
the command runs: help and completion are quick, and an extra that is not installed affects only
the commands that need it. `catalog.py` lists all commands. Most talk to a running server through
the client package, and know nothing of the server's other rooms. A command prints its results, and
its errors to stderr in one line.
"""
