"""Stubs of the v1 API."""
