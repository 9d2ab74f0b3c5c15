"""Generated stubs of the v1 API, and the constants that its .proto file cannot express."""
