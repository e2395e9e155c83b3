"""TEST_SITE=scaled: every test of whole services, on Celery and in a bucket.

Their settings then name a real S3 server and a real Redis, from which a worker of Celery's takes
segments, in threads of pytest's own process, since tests put their own parts into the services.
Workers that are processes are in test_celery.py, test_s3_service.py and tests/chaos.
"""

import os
from contextlib import contextmanager

from pydantic import SecretStr

IS_SCALED = os.environ.get("TEST_SITE") == "scaled"
THREADS = 16


def settings_of(bucket):
    """What tells the service of a bucket."""
    return {
        "storage_url": f"s3://{bucket.name}/{bucket.prefix}",
        "aws_endpoint_url": bucket.endpoint_url,
        "aws_access_key_id": bucket.access_key_id,
        "aws_secret_access_key": SecretStr(bucket.secret_access_key),
    }


def environment_of(bucket):
    """The same for a service that is a process."""
    settings = settings_of(bucket)
    secret = settings.pop("aws_secret_access_key").get_secret_value()
    return {name.upper(): value for name, value in settings.items()} | {
        "AWS_SECRET_ACCESS_KEY": secret
    }


def only_whole_services(config, items):
    """The others would do the same again; `plain_site` marks those that are about the plain one."""
    is_wanted = [
        "build_services" in item.fixturenames and not item.get_closest_marker("plain_site")
        for item in items
    ]
    config.hook.pytest_deselected(
        items=[item for item, wanted in zip(items, is_wanted, strict=True) if not wanted]
    )
    items[:] = [item for item, wanted in zip(items, is_wanted, strict=True) if wanted]


class Site:
    """One worker for all services that there are; each works off what its database knows."""

    def __init__(self, broker_url):
        from app.celery_worker import Worker

        self._new_worker = Worker
        self._workers = {}
        self.settings = {"engine": "celery", "celery_broker_url": SecretStr(broker_url)}

    def add(self, services):
        worker = self._new_worker()
        worker._services = services
        self._workers[services] = worker

    def stop(self, services):
        self._workers.pop(services).end()

    def run_segment(self, segment_id):
        for services, worker in list(self._workers.items()):
            if services.database.batches.find(segment_id.partition(":")[0]):
                worker.run_segment(segment_id)
                return


@contextmanager
def site(folder):
    from celery import Celery
    from celery.contrib.testing.worker import start_worker

    from app.config import Settings
    from app.engine.celery import RUN_SEGMENT, configuration
    from tests import fleet

    assert fleet.REDIS, "needs Redis: apt-get install redis-server"
    with fleet.redis(folder) as broker:
        site = Site(broker.url)
        app = Celery("pressroom", set_as_current=False)
        app.conf.update(configuration(Settings(_env_file=None, **site.settings)), include=[])
        app.task(site.run_segment, name=RUN_SEGMENT, shared=False)
        with start_worker(app, pool="threads", concurrency=THREADS, perform_ping_check=False):
            yield site
