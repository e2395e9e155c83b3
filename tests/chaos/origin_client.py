"""The other end of `origin_process`: starts it, and asks it what it has seen."""

import subprocess
import sys
from pathlib import Path

import requests

PROJECT = Path(__file__).parents[2]


class OriginProcess:
    """Runs until the context ends."""

    def __enter__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.origin_process"],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def image(self, number, delay_ms=0):
        return f"{self.url}/image/{number}.jpg" + (f"?delay_ms={delay_ms}" if delay_ms else "")

    def killer(self, number):
        return f"{self.url}/killer/{number}.jpg"

    def gated(self, name, number):
        return f"{self.url}/gate/{name}/{number}.jpg"

    def open_gate(self, name):
        self._put(f"/gate/{name}", None)

    def hook(self, name):
        return f"{self.url}/hook/{name}"

    def answer_hook(self, name, *statuses):
        self._put(f"/hook/{name}", list(statuses))

    def posted(self, name):
        """What came to a hook, oldest first: `headers`, `body`, `at` (seconds since 1970)."""
        return requests.get(self.hook(name), timeout=10).json()

    def counts(self):
        return requests.get(f"{self.url}/counts", timeout=10).json()

    def total(self):
        """How many images were asked for so far, by whomever."""
        return sum(self.counts().values())

    def _put(self, path, body):
        requests.put(self.url + path, json=body, timeout=10).raise_for_status()
