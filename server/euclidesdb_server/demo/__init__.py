"""`euclidesdb demo`: shows on real data, with a real server, that the database does what it says.

A client program beside the server: it uses the client package and starts the server as its
own process. Nothing here is imported by the server.
"""
