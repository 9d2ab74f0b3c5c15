"""Makes model folders of published models: a program, what it needs, a complete model.conf.

`sources` finds out what a source is; `vision`, `text` and `zoo` make a `Subject` of it, which is
all that `folder` knows; `program` writes it, and checks what was written against the original.
"""
