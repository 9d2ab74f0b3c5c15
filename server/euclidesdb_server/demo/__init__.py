"""`euclidesdb demo` and `demo-text`: the database's promises, checked on real data.

Both are client programs: they start a real server in a separate process and use the client package.
Every statement that they print has just been checked. The server imports nothing from here.
"""
