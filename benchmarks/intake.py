"""Accepting a large catalogue: time and memory of the service, over HTTP, from a real upload.

    python benchmarks/intake.py [ROWS [MEGABYTES]]

Makes a CSV of ROWS rows (100,000) with three URLs each, its rows as wide as MEGABYTES in all ask
for, uploads it to a service started for it, and prints how long the 202 took and by how much the
service's memory grew (VmHWM, the peak, against its resident memory when idle). Nothing is fetched:
the URLs' host refuses at once. That a large file is never held: `python benchmarks/intake.py 2000
200`.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests

PROJECT = Path(__file__).resolve().parents[1]
PORT = 8765
URL = f"http://127.0.0.1:{PORT}"
TARGET_MEGABYTES = 100


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    megabytes = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as folder:
        catalog = write_catalog(Path(folder), rows, megabytes * 1_000_000 // rows)
        service = start_service(Path(folder))
        try:
            measure(service.pid, catalog, rows)
        finally:
            service.kill()
            service.wait()


def write_catalog(folder: Path, rows: int, description_bytes: int) -> Path:
    path, description = folder / "catalog.csv", "x" * description_bytes
    with path.open("w") as file:
        file.write("S. No.,Product Name,Input Image Urls,Description\n")
        for row in range(1, rows + 1):
            urls = ",".join(f"http://127.0.0.1:9/images/{row}/{slot}.jpg" for slot in range(3))
            file.write(f'{row},Product {row},"{urls}",{description}\n')
    return path


def start_service(folder: Path) -> "subprocess.Popen[bytes]":
    environment = os.environ | {
        "PORT": str(PORT),
        "DATA_DIR": str(folder / "data"),
        "UPLOAD_DIR": str(folder / "uploads"),
        "PROCESSED_DIR": str(folder / "processed"),
        "OUTPUT_DIR": str(folder / "outputs"),
        "MIN_FREE_BYTES": "0",
        "LOG_LEVEL": "ERROR",
    }
    service = subprocess.Popen([sys.executable, "run.py"], cwd=PROJECT, env=environment)
    for _ in range(300):
        try:
            if requests.get(f"{URL}/readyz", timeout=5).ok:
                return service
        except requests.ConnectionError:
            time.sleep(0.1)
    service.kill()
    raise SystemExit("the service did not start")


def measure(pid: int, catalog: Path, rows: int) -> None:
    idle_megabytes = memory_megabytes(pid, "VmRSS")
    began = time.perf_counter()
    with catalog.open("rb") as file:
        reply = requests.post(f"{URL}/upload", files={"file": file}, timeout=600)
    elapsed_seconds = time.perf_counter() - began
    assert reply.status_code == 202, reply.text
    grown_megabytes = memory_megabytes(pid, "VmHWM") - idle_megabytes
    sys.stdout.write(
        f"{rows:,} rows, {3 * rows:,} URLs, {catalog.stat().st_size / 1e6:.1f} MB: accepted in "
        f"{elapsed_seconds:.2f} s; memory {idle_megabytes:.0f} MB idle, grown by "
        f"{grown_megabytes:.0f} MB at most (target: below {TARGET_MEGABYTES})\n"
    )


def memory_megabytes(pid: int, field: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(field))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
