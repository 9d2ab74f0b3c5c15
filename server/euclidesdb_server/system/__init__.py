"""The operating system: fsync, thread priority, the protocol between server and worker processes.

Knows nothing of databases or models. The worker process imports from here too, so nothing here may
import a library that only the server has.
"""
