"""`euclidesdb demo` and `demo-text`: the database's promises, checked on real data.

Client programs: they start a real server in a separate process and use the client package. The
server imports nothing from here.
"""
