"""The service as run.py starts it, but that it can open no socket that leads off this machine.

Run as `python -m tests.loopback_service`, by tests whose URLs nobody has chosen. Ends with 3 when
it was asked for one that does.
"""

import ipaddress
import sys

from app import serving
from app.outbound import Outbound
from tests.origin import LoopbackOnly


def main():
    sockets = LoopbackOnly()
    Outbound.__init__.__kwdefaults__["open_socket"] = sockets
    code = serving.main()
    left = [each for each in sockets.dialled if not ipaddress.ip_address(each).is_loopback]
    return 3 if left else code


if __name__ == "__main__":
    sys.exit(main())
