"""`GET /requests/<id>/savings`: the products whose images lost the most bytes; for the page."""

from typing import Annotated

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field

from app.api.batches import find_batch
from app.api.described import AWAY, NOT_FOUND, Reply, describe
from app.api.lazy import DATABASE_SECONDS, lazy_services
from app.api.parsing import Fields, read_query
from app.api.replies import SavingBody, Savings
from app.database import deadline
from app.database.products import Saving

blueprint = Blueprint("savings", __name__)

_ROWS = 10_000
"""So many are looked at, that a million rows cost no more: 0.1 s."""


class SavingsQuery(Fields):
    limit: Annotated[
        int,
        Field(title="So many", ge=1, le=100, description="a whole number from 1 to 100"),
    ] = 12


@blueprint.get("/requests/<request_id>/savings")
@describe(
    "results",
    "The products whose images lost the most bytes",
    query=SavingsQuery,
    replies={200: Reply("of the first rows", (Savings,))},
    errors={**NOT_FOUND, **AWAY},
)
@deadline(DATABASE_SECONDS)
def show_savings(request_id: str) -> ResponseReturnValue:
    """`rows` says how many of the first rows were looked at, of `all_rows`."""
    query = read_query(SavingsQuery)
    services = lazy_services().get()
    batch = find_batch(services, request_id)
    rows = min(batch.rows, _ROWS)
    savings = services.database.products.largest_savings(
        batch.request_id, last_row=rows, limit=query.limit
    )
    body: Savings = {
        "rows": rows,
        "all_rows": batch.rows,
        "products": [_body(saving) for saving in savings],
    }
    return jsonify(body)


def _body(saving: Saving) -> SavingBody:
    return {
        "row": saving.row,
        "serial_number": saving.serial_number,
        "product_name": saving.product_name,
        "images": saving.images,
        "bytes_in": saving.bytes_in,
        "bytes_out": saving.bytes_out,
    }
