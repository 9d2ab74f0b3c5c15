"""What the rooms above need from the operating system.

Makes files and folders durable (`fsync`), lowers the priority of background threads
(`thread_priority`), and frames the messages between the server and a model's worker process
(`worker_protocol`). Every failure is an OSError or a ProtocolError.

Does not know databases, models or engines. The worker process imports from here too, so nothing
here imports a library that only the server needs.
"""
