"""Makes model folders from published models: a program, its files and a complete model.conf.

`sources` loads a source; `vision`, `text` and `zoo` turn it into a `Subject`, the only input of
`folder`; `program` writes the program and checks it against the original.
"""
