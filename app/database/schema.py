"""Indexes, and the view `requests` for readers of design B. Called by `connect`."""

from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.database import Database
from pymongo.errors import CollectionInvalid, OperationFailure

from app.errors import SettingsError

SCHEMA_VERSION = 3
"""Raise it with a change that an older version of the service would misread."""
VIEW_IMAGES = 10_000
_NAMESPACE_EXISTS = 48

_INDEXES = {
    "processing_requests": [
        IndexModel("request_id", unique=True),
        IndexModel([("status", ASCENDING), ("created_at", ASCENDING)]),
        IndexModel(
            [("owner", ASCENDING), ("idempotency.key", ASCENDING)],
            unique=True,
            partialFilterExpression={"idempotency.key": {"$type": "string"}},
        ),
        IndexModel([("owner", ASCENDING), ("created_at", DESCENDING), ("request_id", DESCENDING)]),
        IndexModel(
            [
                ("owner", ASCENDING),
                ("status", ASCENDING),
                ("created_at", DESCENDING),
                ("request_id", DESCENDING),
            ]
        ),
        IndexModel("completed_at", partialFilterExpression={"completed_at": {"$type": "date"}}),
        IndexModel("clean_at", partialFilterExpression={"clean_at": {"$type": "date"}}),
        IndexModel("webhook.next_attempt_at", partialFilterExpression={"webhook.state": "pending"}),
    ],
    "products": [IndexModel([("request_id", ASCENDING), ("row", ASCENDING)], unique=True)],
    "segments": [
        IndexModel([("request_id", ASCENDING), ("state", ASCENDING), ("first_row", ASCENDING)]),
        IndexModel([("state", ASCENDING), ("lease_expires_at", ASCENDING)]),
    ],
    # Its _id is `<request_id>:<url_hash>`, which is the unique pair.
    "results": [IndexModel("source.key", sparse=True)],
    "rates": [IndexModel("ends_at", expireAfterSeconds=0)],
    "webhook_events": [IndexModel("webhook_id", unique=True)],
}


def prepare(database: Database[dict[str, Any]]) -> None:
    """Makes what is missing; does nothing when all is there.

    Raises SettingsError for a database that a newer version, or another program, has written.
    """
    _check_requests(database)
    _check_version(database)
    for name, indexes in _INDEXES.items():
        if indexes:
            database[name].create_indexes(indexes)
    definition: dict[str, Any] = {"viewOn": "processing_requests", "pipeline": _view_pipeline()}
    try:
        database.create_collection("requests", **definition)
    except CollectionInvalid:
        database.command("collMod", "requests", **definition)
    except OperationFailure as error:  # another process made it between PyMongo's look and its act
        if error.code != _NAMESPACE_EXISTS:
            raise


def _check_requests(database: Database[dict[str, Any]]) -> None:
    found = next(database.list_collections(filter={"name": "requests"}), None)
    if found and found["type"] != "view":
        raise SettingsError(
            f"MONGODB_DATABASE: {database.name} holds a collection named requests, which is to be "
            "a view here; choose another name"
        )


def _check_version(database: Database[dict[str, Any]]) -> None:
    raised = {"$max": {"schema_version": SCHEMA_VERSION}}
    database["meta"].update_one({"_id": "schema"}, raised, upsert=True)
    found = database["meta"].find_one({"_id": "schema"}) or {}
    if found["schema_version"] > SCHEMA_VERSION:
        raise SettingsError(
            f"the database {database.name} has schema_version {found['schema_version']}, this "
            f"service knows {SCHEMA_VERSION} at most: start the newer version again, or set "
            "MONGODB_DATABASE to another name"
        )


def _view_pipeline() -> list[dict[str, Any]]:
    """One document a request, its images as an object from URL to result.

    The look-up limits before it groups: without that, one request of 300,000 images makes a
    document above MongoDB's 16 MB, and every reader of the view fails.
    """
    slots: list[dict[str, Any]] = [
        {"$match": {"$expr": {"$eq": ["$request_id", "$$id"]}}},
        {"$sort": {"row": 1}},
        {"$unwind": "$images"},
        {"$limit": VIEW_IMAGES + 1},
        {"$project": {"_id": 0, "image": "$images"}},
    ]
    entry = {
        "k": "$$slot.image.url",
        "v": {
            "status": "$$slot.image.status",
            "path": {"$ifNull": ["$$slot.image.path", None]},
            "error": {"$ifNull": ["$$slot.image.error", None]},
        },
    }
    words = {"processing": "Processing", "completed": "Completed"}
    status = {
        "$switch": {
            "branches": [
                {
                    "case": {
                        "$and": [{"$eq": ["$status", "processing"]}, {"$eq": [started, None]}]
                    },
                    "then": "Pending",
                }
                for started in [{"$ifNull": ["$started_at", None]}]
            ]
            + [{"case": {"$eq": ["$status", ours]}, "then": word} for ours, word in words.items()],
            "default": "Failed",
        }
    }
    return [
        {"$match": {"status": {"$nin": ["receiving", "removing"]}}},
        {
            "$lookup": {
                "from": "products",
                "let": {"id": "$request_id"},
                "pipeline": slots,
                "as": "slots",
            }
        },
        {
            "$project": {
                "_id": 0,
                "request_id": 1,
                "status": status,
                "images_truncated": {"$gt": [{"$size": "$slots"}, VIEW_IMAGES]},
                "images": {
                    "$arrayToObject": {
                        "$map": {
                            "input": {"$slice": ["$slots", VIEW_IMAGES]},
                            "as": "slot",
                            "in": entry,
                        }
                    }
                },
                "output_csv": {"$ifNull": ["$output_csv_path", None]},
            }
        },
    ]
