"""A worker process of `WORKER_PROCESSES`: segment ids come in on standard input, until it closes.

Started by `engine.processes` as `python -m app.worker`.
"""

import os
import signal
import sys

import structlog

from app.config import Settings, read_settings
from app.errors import Unavailable
from app.logs import configure_logs
from app.services import build

log = structlog.get_logger(__name__)


def main() -> None:
    """Runs segments until the service that started it closes the pipe, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the service, which tells us
    whole = read_settings()
    settings = share_of(whole)
    configure_logs(settings)
    try:
        services = build(settings, processes=max(1, whole.worker_processes))
    except Unavailable as error:
        log.warning("worker waits", reason=str(error))
        sys.exit(1)
    for line in sys.stdin:
        services.engine.submit(line.strip())
    services.stop()
    os._exit(0)  # a fetch under way would be waited for, though its image is put back already


def share_of(settings: Settings) -> Settings:
    """The settings of one worker: the service's limits shared out, at least one of each."""
    count = max(1, settings.worker_processes)
    limits = ("download_workers", "compress_workers", "per_host_connections")
    shares = {name: max(1, getattr(settings, name) // count) for name in limits}
    return settings.model_copy(update={"worker_processes": 0, **shares})


if __name__ == "__main__":
    main()
