"""Columns of the fields of items: what filters, lists, counts and summaries are computed from."""
