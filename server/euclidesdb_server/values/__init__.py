"""What rooms hand one another: arrays, metrics, row masks, payloads, embeddings, states.

Promises that every value is immutable. Nothing here does I/O, and nothing here knows another room.
"""
