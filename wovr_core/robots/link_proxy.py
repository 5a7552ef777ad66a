"""A robot's network link that can be cut and mended: forwards libfranka's TCP and UDP traffic on loopback addresses.

What is sent by UDP while it is cut is lost. What is sent by TCP arrives when it is mended, as TCP sends again.

The connect request (a 12-byte header, then library version and UDP port as u16) names the port that states go
to; the proxy puts its own there, and forwards both directions of the 1 kHz exchange until `cut`.
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from types import TracebackType
from typing import Self

from wovr_core.robots.simulated import free_loopback

PORT = 1337
_HEADER = 12


class LinkProxy:
    """Serves one client at a time at `hostname`, in a thread."""

    def __init__(self, robot_hostname: str) -> None:
        self._robot = robot_hostname
        self.hostname = free_loopback()
        self._cut = threading.Event()
        self._end = threading.Event()
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._thread = threading.Thread(target=self._serve, name="link-proxy", daemon=True)

    def __enter__(self) -> Self:
        self._listener.bind((self.hostname, PORT))
        self._listener.listen(1)
        self._listener.settimeout(0.1)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(timeout=5)
        self._listener.close()

    def cut(self) -> None:
        """From now on nothing passes, and nobody is told: a pulled cable."""
        self._cut.set()

    def mend(self) -> None:
        self._cut.clear()

    def _serve(self) -> None:
        while not self._end.is_set():
            try:
                client, address = self._listener.accept()
            except TimeoutError:
                continue
            with client:
                try:
                    self._forward(client, address[0])
                except OSError:
                    continue

    def _forward(self, client: socket.socket, client_ip: str) -> None:
        with (
            socket.create_connection((self._robot, PORT), timeout=5, source_address=(self.hostname, 0)) as robot,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as from_robot,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as from_client,
            selectors.DefaultSelector() as selector,
        ):
            from_robot.bind((self.hostname, 0))
            from_client.bind((self.hostname, 0))
            client.settimeout(5)
            request = bytearray()
            while len(request) < _HEADER + 4:
                data = client.recv(4096)
                if not data:
                    return
                request += data
            (client_port,) = struct.unpack_from("<H", request, _HEADER + 2)
            struct.pack_into("<H", request, _HEADER + 2, from_robot.getsockname()[1])
            robot.sendall(request)
            robot_address = None
            for peer in (client, robot, from_robot, from_client):
                selector.register(peer, selectors.EVENT_READ)
            late = {client: b"", robot: b""}
            while not self._end.is_set():
                for peer, data in late.items():
                    if data and not self._cut.is_set():
                        peer.sendall(data)
                        late[peer] = b""
                for key, _ in selector.select(0.1):
                    readable = key.fileobj
                    if readable is from_robot:
                        packet, robot_address = from_robot.recvfrom(65536)
                        if not self._cut.is_set():
                            from_client.sendto(packet, (client_ip, client_port))
                    elif readable is from_client:
                        packet, _ = from_client.recvfrom(65536)
                        if robot_address is not None and not self._cut.is_set():
                            from_robot.sendto(packet, robot_address)
                    else:
                        data = (client if readable is client else robot).recv(65536)
                        if not data:
                            return
                        late[robot if readable is client else client] += data
