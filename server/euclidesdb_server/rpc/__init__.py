"""The wire: the only place that imports grpc and the messages of the API.

`v1` and `legacy` translate messages to the database's own values and back; `interceptor` turns
what is raised into a status, by the one table in `status`.
"""
