"""A worker process gets its share of the service's limits, and ends with the pipe."""

import subprocess
import sys

from app.config import Settings
from app.engine.processes import restart_wait, worker_of
from app.worker import share_of
from tests.service_process import PROJECT, environment


def settings_of(**values):
    return Settings(_env_file=None, **values)


def test_limits_are_shared_out_among_the_workers():
    share = share_of(
        settings_of(
            worker_processes=4, download_workers=64, compress_workers=2, per_host_connections=32
        )
    )

    assert (share.download_workers, share.compress_workers, share.per_host_connections) == (
        16,
        1,
        8,
    )
    assert share.worker_processes == 0


def test_a_worker_ends_when_whoever_started_it_is_gone(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "app.worker"],
        cwd=PROJECT,
        env=environment(tmp_path, 8000, WORKER_PROCESSES=2),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.returncode == 0
    assert "Traceback" not in ran.stderr


def test_a_requests_segments_go_to_the_workers_in_turn():
    for request_id in ("a", "b", "c"):
        workers = [worker_of(f"{request_id}:{first_row}", 3) for first_row in range(1, 600, 100)]

        assert sorted(workers) == [0, 0, 1, 1, 2, 2]


def test_a_worker_that_dies_again_at_once_is_waited_for_ever_longer_and_not_after_a_life():
    waits = [0.0]
    for _ in range(7):
        waits.append(restart_wait(waits[-1], lived_seconds=0.1))

    assert waits[1:] == [0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]
    assert restart_wait(waits[-1], lived_seconds=60) == 0.2
