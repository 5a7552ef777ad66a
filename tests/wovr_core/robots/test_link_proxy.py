"""A link that is cut loses packets, keeps streams back, and gives both on when it is mended."""

from __future__ import annotations

import socket
import struct

import pytest

from wovr_core.robots.link_proxy import PORT, LinkProxy
from wovr_core.robots.simulated import free_loopback

pytestmark = [pytest.mark.robot, pytest.mark.fault]


@pytest.fixture
def linked():
    """The proxy, both ends of its stream, the client's socket for states, and where states are to be sent."""
    with socket.socket() as listener, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as states:
        address = free_loopback()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, PORT))
        listener.listen(1)
        listener.settimeout(20)
        states.bind(("127.0.0.1", 0))
        states.settimeout(20)
        with LinkProxy(address) as proxy, socket.create_connection((proxy.hostname, PORT), timeout=20) as client:
            client.sendall(struct.pack("<IIIHH", 0, 1, 16, 10, states.getsockname()[1]))
            robot, _ = listener.accept()
            robot.settimeout(20)
            with robot:
                request = robot.recv(64)
                (port,) = struct.unpack_from("<H", request, 14)
                yield proxy, client, robot, states, (proxy.hostname, port)


def test_what_is_sent_while_it_is_cut(linked):
    proxy, client, robot, states, to = linked
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"before", to)
        assert states.recv(64) == b"before"
        proxy.cut()
        sender.sendto(b"lost", to)
        robot.sendall(b"the motion ended")
        client.settimeout(0.5)
        with pytest.raises(TimeoutError):
            client.recv(64)
        proxy.mend()
        client.settimeout(20)
        assert client.recv(64) == b"the motion ended"  # TCP sends again
        sender.sendto(b"after", to)
        assert states.recv(64) == b"after"  # UDP does not
        client.sendall(b"and back")
        assert robot.recv(64) == b"and back"
