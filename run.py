"""The service: settings, the app, the web server, and a clean stop on SIGTERM or Ctrl-C.

`python run.py` serves until stopped; `python run.py --demo` runs one whole job and ends.
"""

import argparse
import os
import signal
import sys
import threading
from types import FrameType

import structlog

from app import create_app
from app.api.lazy import LazyServices
from app.config import Settings, read_settings
from app.demo import run_demo
from app.errors import SettingsError, Unavailable
from app.logs import configure_logs
from app.server import listen, make_server

RETRY_SECONDS = 1.0

log = structlog.get_logger("run")


def main() -> int:
    """The exit code; `serve` ends the process itself."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--demo", action="store_true", help="run one whole job on the samples")
    try:
        if parser.parse_args().demo:
            return run_demo()
        serve(read_settings())
    except SettingsError as error:
        sys.stderr.write(f"Pressroom cannot start: {error}\n")
    return 1


def serve(settings: Settings) -> None:
    """Serves until SIGTERM or Ctrl-C, then puts back what is unfinished and exits 0."""
    configure_logs(settings)
    listener = listen(settings)
    app = create_app(settings)
    server = make_server(app, settings, listener)
    for stop_signal in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop_signal, _raise_system_exit)
    services: LazyServices = app.extensions["pressroom"]
    stopping = threading.Event()
    threading.Thread(target=_start, args=(services, stopping), daemon=True).start()
    log.info("listening", url=settings.base_url)
    try:
        server.run()
    except SystemExit:
        log.info("stopping")
    stopping.set()
    server.close()
    services.stop()
    log.info("stopped")
    sys.stderr.flush()
    os._exit(0)  # a fetch under way would be waited for, though its image is put back already


def _start(services: LazyServices, stopping: threading.Event) -> None:
    """Goes on trying while the database is away, so that work resumes without a caller."""
    while not stopping.is_set():
        try:
            services.get()
        except Unavailable as error:
            log.warning("services wait", reason=str(error))
            stopping.wait(RETRY_SECONDS)
        except SettingsError as error:
            sys.stderr.write(f"Pressroom cannot start: {error}\n")
            os._exit(1)
        except Exception:  # the edge of the thread: nobody else would hear of it
            log.exception("services failed to start")
            stopping.wait(RETRY_SECONDS)
        else:
            return


def _raise_system_exit(_signal_number: int, _frame: FrameType | None) -> None:
    raise SystemExit


if __name__ == "__main__":
    sys.exit(main())
