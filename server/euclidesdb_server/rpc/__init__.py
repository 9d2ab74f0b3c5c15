"""The wire: both services, their messages, and the transports that carry them.

The only room that imports grpc and the messages of the API. `v1` and `legacy` translate messages to
the database's own values and back; `methods` lists them for any transport, `answering` runs them;
`transport` chooses between nghttp2 and grpcio; `status` turns errors into statuses. Promises that
every error has a status and a stable reason, and that an outcome of one of many items keeps its
position. Does not know what the database does with a request.
"""
