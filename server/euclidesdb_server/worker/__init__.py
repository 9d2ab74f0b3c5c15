"""The model worker: a process that loads models and runs batches until its connection closes.

The only code that imports torch, Pillow or a tokenizer. It parses the bytes that clients send and
runs the programs of users, so a crash, a hang or a memory leak harms this process alone. Each
item of a batch gets its outputs or its own error, in the order of the batch.

Does not know the database, the queue or the server's configuration: the `load` message has all
that a worker needs to know.
"""
