"""What operators see of a running server: numbers of its work, its models, its disk and memory.

Rooms keep measures of their own work (`system/measures.py`) and know nothing of this one.
`Collection` reads them into a `DatabaseStats` when somebody asks, `families` names them for
Prometheus, and `MetricsServer` serves them by HTTP. Labels are names of models, methods and
statuses, never ids: there are as many series as models and methods, whatever clients send.

Does not know gRPC or its messages; `rpc` adds the numbers of calls.
"""
