"""What the rooms above need from the operating system.

Makes files and folders durable (`fsync`) and computes their checksums (`file_sums`), lowers the
priority of background threads (`thread_priority`), raises the limit of open files (`open_files`),
waits for signals (`signals`), sets up the memory allocator (`allocator`), keeps child processes
harmless (`child_process`, `job_process`), and frames the messages between the server and a model's
worker process (`worker_protocol`). Every failure is an OSError, a ProtocolError, or the failed
outcome of a job.

Does not know databases, models or engines. The child processes import from here too, so nothing
here imports a library that only the server needs.
"""
