"""Columns of the fields of items: what filters, lists, counts and summaries are computed from.

Derived from the store, in files that it accepts by their checksums; whatever they lack is read from
it again. Promises: a view has every write that was acknowledged before, and no removed item.

Knows neither vectors nor indexes: of an item's vectors it knows the labels.
"""

from euclidesdb_server.columns.item_table import ItemTable

__all__ = ["ItemTable"]
