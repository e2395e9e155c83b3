"""What must be true when a request has ended, however often whatever was killed before.

`judge` ages what is stored, where it can, instead of waiting for the sweeper's time, and raises an
AssertionError that says all that is wrong; it returns the verdict's counts for the figures.
"""

import hashlib
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from io import BytesIO

from PIL import Image
from standardwebhooks.webhooks import Webhook

from app.storage.s3 import AREAS
from tests.chaos.catalogue import normalised
from tests.chaos.stored import AGE_SECONDS
from tests.chaos.world import SECRET, wait_for

_TERMINAL = {"completed", "failed"}


def judge(world, runs, *, hook=None):
    """Every request has ended as its run without kills did, and nothing else is left anywhere.

    `runs` is from request id to `Run`; `hook` is where the webhooks of them all went.
    """
    client, database = world.database()
    with client:
        age(world, database)
        wait_for(lambda: _is_tidy(database, runs), "the sweeper to tidy up")
        verdict = Verdict()
        for request_id, run in runs.items():
            _judge_status(verdict, world, request_id, run.catalogue)
            _judge_documents(verdict, database, request_id, run.catalogue)
            _judge_files(verdict, world, database, request_id)
            _judge_output(verdict, world, request_id, run.rows)
            if hook:
                _judge_webhook(verdict, world, database, request_id, hook)
        _judge_strangers(verdict, world, database, set(runs))
    for life in [*world.lives, *world.workers]:
        verdict.holds("Traceback" not in life.log(), f"{life.log_path.name} has a traceback")
    assert not verdict.faults, "\n".join(verdict.faults[:40])
    return dict(verdict.counts)


class Verdict:
    def __init__(self):
        self.faults = []
        self.counts = Counter(images=0, lost=0, doubled=0, poisoned=0, torn=0, orphans=0)

    def holds(self, is_true, fault):
        if not is_true:
            self.faults.append(fault)

    def none(self, name, found):
        """Nothing of the kind was found; counted under that name."""
        self.counts[name] += len(found)
        self.holds(not found, f"{name}: {found[:10]}")


def age(world, database):
    """Makes every file old, and lets every request have ended, and every webhook's hold have run
    out, long ago."""
    ended = datetime.now(UTC) - timedelta(seconds=AGE_SECONDS)
    requests = database["processing_requests"]
    requests.update_many({"completed_at": {"$ne": None}}, {"$set": {"completed_at": ended}})
    if world.stored.can_age:
        world.stored.age()
        requests.update_many({"clean_at": {"$ne": None}}, {"$set": {"clean_at": ended}})
    requests.update_many({"webhook.state": "pending"}, {"$set": {"webhook.next_attempt_at": ended}})


def _is_tidy(database, request_ids):
    """The sweeper has been at every request, and every webhook is told of as sent."""
    wanted = {"request_id": {"$in": list(request_ids)}, "clean_at": None}
    settled = wanted | {"webhook.state": {"$ne": "pending"}}
    hidden = {"status": {"$in": ["receiving", "removing"]}}
    requests = database["processing_requests"]
    return requests.count_documents(settled) == len(request_ids) and not requests.count_documents(
        hidden
    )


def _judge_status(verdict, world, request_id, catalogue):
    status = world.status(request_id)
    progress = status["progress"]
    seen = (status["status"], progress["total"], progress["completed"], progress["failed"])
    failures = sum(catalogue.errors.values())
    verdict.holds(
        seen == ("completed", catalogue.images, catalogue.images - failures, failures),
        f"{request_id}: status, total, completed, failed are {seen}",
    )


def _judge_documents(verdict, database, request_id, catalogue):
    products = list(database["products"].find({"request_id": request_id}))
    images = [image for product in products for image in product["images"]]
    rows = Counter(product["row"] for product in products)
    verdict.counts["images"] += len(images)
    missing = catalogue.images - len(images)
    verdict.holds(missing <= 0, f"{request_id}: {missing} images have no document")
    verdict.counts["lost"] += max(0, missing)
    verdict.none("lost", [image["url"] for image in images if image["status"] not in _TERMINAL])
    verdict.none("doubled", [row for row, times in rows.items() if times > 1])
    codes = Counter(image["error"]["code"] for image in images if image.get("error"))
    verdict.counts["poisoned"] += codes["poison"]
    verdict.holds(codes == catalogue.errors, f"{request_id}: errors {dict(codes)}")
    states = Counter(s["state"] for s in database["segments"].find({"request_id": request_id}))
    verdict.holds(set(states) == {"done"}, f"{request_id}: segments are {states}")


def _judge_files(verdict, world, database, request_id):
    """One file an image, whole, under the name that its bytes give it."""
    named = defaultdict(set)
    sizes = {}
    for product in database["products"].find({"request_id": request_id}):
        for image in product["images"]:
            if image.get("path"):
                named[image["url"]].add(image["path"])
                sizes[image["path"]] = image["bytes_out"]
    there = set(world.stored.keys(f"processed/{request_id}/"))
    verdict.none("doubled", [url for url, paths in named.items() if len(paths) > 1])
    verdict.none("lost", sorted(sizes.keys() - there))
    verdict.none("orphans", sorted(there - sizes.keys()))
    torn = [key for key in there if not _is_whole(key, world.stored.read(key), sizes.get(key))]
    verdict.none("torn", torn)
    request = database["processing_requests"].find_one({"request_id": request_id})
    for area, key in (("outputs", "output_csv_path"), ("uploads", "upload_path")):
        keys = world.stored.keys(f"{area}/{request_id}/")
        verdict.none("orphans", [found for found in keys if found != request[key]])
        verdict.none("lost", [request[key]] if request[key] not in keys else [])


def _is_whole(key, body, size):
    digest = key.rpartition("-")[2].partition(".")[0]
    try:
        Image.open(BytesIO(body)).load()
    except OSError:
        return False
    return hashlib.sha256(body).hexdigest()[:12] == digest and size in (None, len(body))


def _judge_output(verdict, world, request_id, expected):
    output = world.get(f"/download/{request_id}")
    verdict.holds(output.status_code == 200, f"{request_id}: download is {output.status_code}")
    rows = normalised(output.content, request_id)
    others = [
        (mine, theirs) for mine, theirs in zip(rows, expected, strict=False) if mine != theirs
    ]
    verdict.holds(len(rows) == len(expected), f"{request_id}: {len(rows)} rows in the output")
    verdict.holds(not others, f"{request_id}: the output differs: {others[:3]}")


def _judge_webhook(verdict, world, database, request_id, hook):
    """One id and one body, every delivery signed; the document says that it arrived."""
    posted = [
        post
        for post in world.origin.posted(hook)
        if f'"request_id": "{request_id}"' in post["body"]
    ]
    ids = {post["headers"]["webhook-id"] for post in posted}
    bodies = {post["body"] for post in posted}
    verdict.holds(len(ids) == len(bodies) == 1, f"{request_id}: webhook ids {ids}, {bodies}")
    for post in posted:
        Webhook(SECRET).verify(post["body"], post["headers"])
    request = database["processing_requests"].find_one({"request_id": request_id})
    state = request["webhook"]["state"]
    verdict.holds(state == "delivered", f"{request_id}: its webhook is {state}")
    verdict.counts["webhook_ids"] += len(ids)
    verdict.counts["webhook_posts"] += len(posted)


def _judge_strangers(verdict, world, database, request_ids):
    """Nothing belongs to a request that is not."""
    for name in ("processing_requests", "products", "segments"):
        strangers = set(database[name].distinct("request_id")) - request_ids
        verdict.none("orphans", [f"{name}: {request_id}" for request_id in strangers])
    results = {found["_id"].partition(":")[0] for found in database["results"].find({}, {"_id": 1})}
    verdict.none("orphans", sorted(results - request_ids))
    for area in AREAS:
        strangers = world.stored.owners(area) - request_ids
        verdict.none("orphans", sorted(f"{area}/{name}" for name in strangers))
