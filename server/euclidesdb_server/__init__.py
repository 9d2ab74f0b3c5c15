"""The server: runs models on items, stores their outputs, and finds similar items."""
