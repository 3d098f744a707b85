"""Connections that a test holds in its own hands, by the hundred."""

import resource
import socket

import clients


def hold(stack, address, count):
    """So many open connections, none of which has sent anything."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    host, port = address.removeprefix("http://").split(":")
    held = []
    for _ in range(count):
        connection = socket.create_connection((host, int(port)), timeout=clients.WITHIN / 6)
        held.append(stack.enter_context(connection))
    return held


def ask(connection):
    """The status that comes on a connection that is already open."""
    connection.sendall(b"GET /home HTTP/1.1\r\nHost: test\r\n\r\n")
    return connection.recv(65536).partition(b"\r\n")[0]
