"""rom1504/img2dataset, the bulk downloader of the field, in a virtual environment of its own.

It gets every advantage that its options give: as many shards as processes, so that none waits for
another, and the best of several counts of processes and threads, found on a part of the pictures.
Its time is that of its shards as it reports them itself, without the seconds that its start takes;
and its processes begin together (`together.py`).
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from benchmarks.runs import NotMeasured, Run, tell

VERSION = "1.47.0"
CORES = len(os.sched_getaffinity(0))
PROCESSES = (CORES, 2 * CORES)
THREADS = (4, 8, 16, 32)
OPTIONS = (
    "--resize_mode=no",
    "--encode_quality=50",
    "--encode_format=jpg",
    "--output_format=files",
    "--input_format=txt",
)
RUN_SECONDS = 600
TOGETHER = Path(__file__).with_name("together.py")

FreshFolder = Callable[[], AbstractContextManager[Path]]


@dataclass
class Img2dataset:
    """`folder` keeps its environment; `best` the counts found, by the name of what they serve."""

    folder: Path
    is_wanted: bool = True
    best: dict[str, tuple[int, int]] = field(default_factory=dict)

    def install(self) -> None:
        """Does nothing when it is there. Raises NotMeasured."""
        if not self.is_wanted:
            raise NotMeasured("img2dataset was left out")
        if (self._home / "complete").exists():
            return
        tell(f"installing img2dataset {VERSION}")
        shutil.rmtree(self._home, ignore_errors=True)
        pip = [str(self._python), "-m", "pip", "install", "--quiet"]
        pip += ["--disable-pip-version-check", f"img2dataset=={VERSION}"]
        try:
            subprocess.run([sys.executable, "-m", "venv", str(self._home)], check=True)
            subprocess.run(pip, check=True, capture_output=True)
            (self._home / "complete").touch()
        except (subprocess.CalledProcessError, OSError) as error:
            shutil.rmtree(self._home, ignore_errors=True)
            raise NotMeasured(f"img2dataset {VERSION} could not be installed") from error

    def find_best(self, name: str, urls: Sequence[str], fresh_folder: FreshFolder) -> None:
        """Tries all counts of processes and threads once, and keeps the best for `name`."""
        if name in self.best:
            return
        self.install()
        rates = {}
        for counts in product(PROCESSES, THREADS):
            with fresh_folder() as folder:
                rates[counts] = self._run(urls, counts, folder).rate
            tell(f"img2dataset, {counts[0]} × {counts[1]} threads: {rates[counts]:.1f}/s")
        self.best[name] = max(rates, key=lambda counts: rates[counts])

    def run(self, name: str, urls: Sequence[str], folder: Path) -> Run:
        """With the counts found for `name`. Raises NotMeasured."""
        self.install()
        return self._run(urls, self.best[name], folder)

    @property
    def _home(self) -> Path:
        return self.folder / f"img2dataset-{VERSION}"

    @property
    def _python(self) -> Path:
        return self._home / "bin" / "python"

    def _run(self, urls: Sequence[str], counts: tuple[int, int], folder: Path) -> Run:
        processes, threads = counts
        url_list, output = folder / "urls.txt", folder / "output"
        url_list.write_text("".join(f"{url}\n" for url in urls))
        command = [str(self._python), "-P"]  # or it would import this module, not the package
        command += [str(TOGETHER), str(folder), str(processes), str(url_list)]
        command += [f"--output_folder={output}", *OPTIONS]
        command += [f"--processes_count={processes}", f"--thread_count={threads}"]
        command.append(f"--number_sample_per_shard={-(-len(urls) // processes)}")
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        environment["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would ask PyPI for its newest version
        with (folder / "img2dataset.log").open("wb") as log, suppress(subprocess.TimeoutExpired):
            subprocess.run(
                command, env=environment, stdout=log, stderr=log, timeout=RUN_SECONDS, check=False
            )
        shards = [json.loads(path.read_text()) for path in output.glob("*_stats.json")]
        if sum(shard["successes"] for shard in shards) != len(urls):
            said = (folder / "img2dataset.log").read_text()[-500:]
            raise NotMeasured(f"img2dataset failed: {said}")
        seconds = max(shard["end_time"] for shard in shards)
        seconds -= min(shard["start_time"] for shard in shards)
        bytes_out = sum(path.stat().st_size for path in output.glob("*/*.jpg"))
        details = {"processes": processes, "threads": threads, "bytes_out": bytes_out}
        return Run(len(urls), seconds, details)
