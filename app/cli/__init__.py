"""The terminal: `flask process` without a server, `flask submit` to a running one.

`create_app` registers the commands; nothing is read or started until one of them is called.
"""

from flask import Flask

from app.cli.process import process
from app.cli.submit import submit


def register_commands(app: Flask) -> None:
    """Adds the commands to `flask`."""
    app.cli.add_command(process)
    app.cli.add_command(submit)
