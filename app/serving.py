"""The service: settings, the app, the web server, and a clean stop on SIGTERM or Ctrl-C.

Called by run.py: `python run.py` serves until stopped, `python run.py --demo` runs one whole job.
"""

import argparse
import os
import signal
import sys
from types import FrameType

import structlog

from app import create_app
from app.api.lazy import LazyServices
from app.config import Settings, read_settings
from app.demo import run_demo
from app.errors import SettingsError
from app.logs import configure_logs
from app.server import listen, make_server

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = structlog.get_logger(__name__)


def main() -> int:
    """The exit code; `serve` ends the process itself."""
    parser = argparse.ArgumentParser(description="Compresses the images of a CSV.")
    parser.add_argument("--demo", action="store_true", help="run one whole job on the samples")
    try:
        if parser.parse_args().demo:
            return run_demo()
        serve(read_settings())
    except SettingsError as error:
        _tell(error)
    return 1


def serve(settings: Settings) -> None:
    """Serves until SIGTERM or Ctrl-C, then puts back what is unfinished and exits 0."""
    configure_logs(settings)
    listener = listen(settings)
    app = create_app(settings)
    server = make_server(app, settings, listener)
    for stop_signal in STOP_SIGNALS:
        signal.signal(stop_signal, _stop)
    services: LazyServices = app.extensions["pressroom"]
    services.begin(_exit)
    log.info("listening", url=settings.base_url)
    server.run()  # waitress returns on SystemExit, once what is being answered is
    log.info("stopping")
    server.close()
    services.stop()
    log.info("stopped")
    sys.stderr.flush()
    os._exit(0)  # a fetch under way would be waited for, though its image is put back already


def _stop(_signal_number: int, _frame: FrameType | None) -> None:
    for stop_signal in STOP_SIGNALS:  # a second Ctrl-C would break off what puts work back
        signal.signal(stop_signal, signal.SIG_IGN)
    raise SystemExit


def _exit(error: SettingsError) -> None:
    """Called by the thread that starts the services, whose own end would end nothing."""
    _tell(error)
    os._exit(1)


def _tell(error: SettingsError) -> None:
    sys.stderr.write(f"Pressroom cannot start: {error}\n")
