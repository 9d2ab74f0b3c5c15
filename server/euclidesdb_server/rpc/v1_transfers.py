"""The calls of the v1 API that export items, and import them."""

from __future__ import annotations

from collections.abc import Iterator

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.database.item_export import ExportRequest
from euclidesdb_server.database.item_reads import Include
from euclidesdb_server.database.requests import Call
from euclidesdb_server.rpc import v1_replies as replies
from euclidesdb_server.rpc import v1_requests as requests
from euclidesdb_server.rpc.arrow_items import arrow_stream
from euclidesdb_server.rpc.v1_item_queries import ItemQueryCalls


class TransferCalls(ItemQueryCalls):
    """Translates between messages and the exports and imports of the database."""

    def ExportItems(  # noqa: N802
        self, request: pb.ExportItemsRequest, call: Call
    ) -> Iterator[pb.ExportItemsReply]:
        """See the proto."""
        include = Include(
            request.include_vectors, request.include_predictions, request.include_payloads
        )
        wanted = ExportRequest(self.filter_of(request), tuple(request.models), include)
        with self._items.exports.open(wanted, call) as export:
            for piece in arrow_stream(export):
                yield pb.ExportItemsReply(data=piece)

    def ImportItems(  # noqa: N802
        self,
        request: pb.ImportItemsRequest,
        call: Call,  # noqa: ARG002
    ) -> pb.ImportItemsReply:
        """See the proto."""
        outcomes = self._items.imports.write(requests.imported_items(request), request.request_key)
        return replies.import_items_reply(outcomes)
