"""Builds the concrete parts and joins them; the only file that names them all.

Build after a fork, never before: database clients and curl handles do not survive one.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from app.addresses import AddressGuard, parse_allowed_addresses
from app.budget import Budget
from app.catalog import SheetReader
from app.coding import Coders
from app.compress import Limits
from app.config import PROJECT_DIR, Settings
from app.database import Database, connect
from app.database.private_server import PrivateServer
from app.dispatch import Dispatcher
from app.engine import Engine
from app.engine.processes import ProcessEngine
from app.engine.threads import ThreadEngine
from app.errors import SettingsError
from app.exports import Exports
from app.hosts import FIRST_CONNECTIONS, Hosts
from app.intake import Intake
from app.making import IN_FLIGHT_BYTES, PIXELS_IN_FLIGHT, ImageMaker
from app.metrics import Metrics, meters
from app.metrics.sharing import SharedMetrics
from app.outbound import Outbound
from app.pipeline import Pipeline
from app.sources import Polite, Samples, Sources
from app.storage import Storage
from app.storage.local import LocalStorage
from app.storage.spool import Spool
from app.sweeper import Sweeper
from app.webhooks import Deliverer


@dataclass(frozen=True)
class Services:
    """The parts that the API, the page and the terminal call."""

    settings: Settings
    database: Database
    storage: Storage
    exports: Exports
    outbound: Outbound
    samples: Samples
    intake: Intake
    pipeline: Pipeline
    engine: Engine
    dispatcher: Dispatcher
    coders: Coders
    deliverer: Deliverer
    sweeper: Sweeper
    shared_metrics: SharedMetrics
    private_server: PrivateServer | None

    def start(self) -> None:
        """Begins to work off what is there."""
        self.sweeper.start()

    def stop(self) -> None:
        """Takes no new work, gives what is under way its time, and puts the rest back."""
        self.pipeline.stopping.set()
        self.sweeper.stop()
        self.engine.stop()
        self.dispatcher.stop()
        self.coders.stop()
        self.deliverer.stop()
        self.shared_metrics.stop()
        self.outbound.close()
        self.database.close()
        if self.private_server:
            self.private_server.stop()


def build(
    settings: Settings, *, processes: int = 1, shared_metrics: SharedMetrics | None = None
) -> Services:
    """With the memory shared out among so many processes.

    Raises SettingsError, and DatabaseUnavailable when there is no database to begin with.
    """
    uri = settings.mongodb_uri.get_secret_value()
    private_server = None if uri else PrivateServer(settings.data_dir)
    if private_server:
        uri = private_server.start()
    try:
        database = connect(uri, settings.mongodb_database)
        return _join(
            settings, database, private_server, processes, shared_metrics or build_metrics(settings)
        )
    except BaseException:
        if private_server:  # or the next try would join a server that nobody looks after
            private_server.stop()
        raise


def _join(
    settings: Settings,
    database: Database,
    private_server: PrivateServer | None,
    processes: int,
    shared_metrics: SharedMetrics,
) -> Services:
    metrics = shared_metrics.metrics
    storage = build_storage(settings)
    exports = Exports(database, storage, base_url=settings.base_url, images_url=settings.images_url)
    outbound = _outbound(settings)
    samples = build_samples(settings)
    deliverer = Deliverer(
        database, outbound, settings.webhook_secrets, f"{settings.base_url}/webhook", metrics
    )
    dispatcher = Dispatcher(
        "image",
        threads=settings.download_workers,
        per_lane=min(FIRST_CONNECTIONS, settings.per_host_connections),
        most_per_lane=settings.per_host_connections,
    )
    hosts = Hosts(dispatcher, settings.per_host_connections)
    coders = Coders(settings.compress_workers)
    maker = _maker(settings, Sources(samples, Polite(outbound, hosts)), processes)
    pipeline = Pipeline(
        database=database,
        storage=storage,
        exports=exports,
        dispatcher=dispatcher,
        coders=coders,
        maker=maker,
        submit=lambda segment_id: engine.submit(segment_id),
        deliver_webhooks=deliverer.deliver_due,
        metrics=metrics,
    )
    if not settings.worker_processes:  # else the pools of this process are never used
        metrics.watch(_pools(settings, dispatcher, coders, maker))
    engine = _engine(settings, pipeline)
    shared_metrics.start()
    return Services(
        settings=settings,
        database=database,
        storage=storage,
        exports=exports,
        outbound=outbound,
        samples=samples,
        intake=Intake(
            database=database,
            storage=storage,
            sheets=SheetReader(),
            max_rows=settings.max_csv_rows,
            go_on=pipeline.go_on,
        ),
        pipeline=pipeline,
        engine=engine,
        dispatcher=dispatcher,
        coders=coders,
        deliverer=deliverer,
        sweeper=Sweeper(
            database=database,
            storage=storage,
            pipeline=pipeline,
            deliver_webhooks=deliverer.deliver_due,
            keep_database_running=private_server.ensure_running if private_server else _no_need,
            retention_days=settings.retention_days,
        ),
        shared_metrics=shared_metrics,
        private_server=private_server,
    )


def _engine(settings: Settings, pipeline: Pipeline) -> Engine:
    if settings.engine == "celery":
        return _celery_engine(settings)
    if settings.worker_processes:
        return ProcessEngine([sys.executable, "-m", "app.worker"], settings.worker_processes)
    return ThreadEngine(pipeline.run_segment)


def _celery_engine(settings: Settings) -> Engine:
    try:
        from app.engine.celery import CeleryEngine
    except ImportError as error:
        raise SettingsError(
            f"ENGINE=celery needs a library that is not installed ({error.name}): "
            "pip install -r requirements-scale.txt"
        ) from error
    return CeleryEngine(settings)


def build_storage(settings: Settings) -> Storage:
    """Apart from the rest, since images are served while the database is away.

    Raises SettingsError when STORAGE_URL needs a library that is not installed.
    """
    if settings.storage_url:
        return _bucket_storage(settings)
    return LocalStorage(
        {
            "uploads": settings.upload_dir,
            "processed": settings.processed_dir,
            "outputs": settings.output_dir,
        },
        settings.min_free_bytes,
    )


def _bucket_storage(settings: Settings) -> Storage:
    try:
        from app.storage.s3 import Bucket, S3Storage
    except ImportError as error:
        raise SettingsError(
            f"STORAGE_URL needs a library that is not installed ({error.name}): "
            "pip install -r requirements-scale.txt"
        ) from error
    name, _, prefix = settings.storage_url.removeprefix("s3://").partition("/")
    bucket = Bucket(
        name,
        prefix,
        endpoint_url=settings.aws_endpoint_url,
        region=settings.aws_region,
        access_key_id=settings.aws_access_key_id,
        secret_access_key=settings.aws_secret_access_key.get_secret_value(),
        session_token=settings.aws_session_token.get_secret_value(),
    )
    return S3Storage(bucket, Spool(settings.data_dir / "tmp", settings.min_free_bytes))


def build_samples(settings: Settings) -> Samples:
    """As above."""
    return Samples(PROJECT_DIR / "samples", settings.base_url)


def build_metrics(settings: Settings) -> SharedMetrics:
    """As above; begun with the rest."""
    return SharedMetrics(Metrics(), settings.data_dir / "metrics")


def _pools(
    settings: Settings, dispatcher: Dispatcher, coders: Coders, maker: ImageMaker
) -> dict[meters.Meter, Callable[[], float]]:
    return {
        meters.FETCHES: lambda: dispatcher.busy,
        meters.FETCHES_LIMIT: lambda: settings.download_workers,
        meters.CODERS: lambda: coders.busy,
        meters.CODERS_LIMIT: lambda: settings.compress_workers,
        meters.MEMORY: lambda: maker.memory.held,
        meters.MEMORY_LIMIT: lambda: maker.memory.most,
        meters.PIXELS: lambda: maker.pixels.held,
        meters.PIXELS_LIMIT: lambda: maker.pixels.most,
    }


def _outbound(settings: Settings) -> Outbound:
    return Outbound(
        guard=AddressGuard(parse_allowed_addresses(settings.allowed_addresses)),
        user_agent=settings.user_agent,
        fetch_timeout_seconds=settings.fetch_timeout_seconds,
        max_image_bytes=settings.max_image_bytes,
        ca_bundle=settings.ca_bundle or None,
        proxy_url=settings.proxy_url or None,
        headers=settings.fetch_headers,
    )


def _maker(settings: Settings, sources: Sources, processes: int) -> ImageMaker:
    return ImageMaker(
        sources=sources,
        memory=Budget(IN_FLIGHT_BYTES // processes),
        pixels=Budget(PIXELS_IN_FLIGHT // processes),
        limits=Limits(settings.max_image_pixels, settings.max_image_frames),
        jpeg_optimize=settings.jpeg_optimize,
        fetch_timeout_seconds=settings.fetch_timeout_seconds,
    )


def _no_need() -> None:
    """Somebody else's server is somebody else's to start."""
