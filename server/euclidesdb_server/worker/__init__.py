"""The model worker: a process that loads one model and runs batches until its pipe closes.

The only code that imports torch or Pillow. Whatever hostile bytes or a bad model do here, they
do to this process alone.
"""
