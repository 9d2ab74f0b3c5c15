"""Makes model folders from published models: a program, its files and a complete model.conf.

`sources` loads a source; `vision`, `text` and `zoo` turn it into a `Subject`, the only input of
`folder`; `program` writes the program and checks it against the original. A folder is written only
if a worker loads its program, decodes items as the model's own preprocessing does, and computes the
original's outputs. This package does not know the server; it uses a worker's own code.
"""
