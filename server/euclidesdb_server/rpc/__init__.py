"""The wire: both services, their messages, and the gRPC server.

The only room that imports grpc and the messages of the API. `v1` and `legacy` translate messages
to the database's own values and back; `interceptor` turns errors into statuses, by the one table
in `status`. Does not know what the database does with a request.
"""
