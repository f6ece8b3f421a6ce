"""A gRPC method that answers what it is asked: HTTP/2 without TLS, as little of it as that takes."""

import socket
import struct
import sys
import threading

DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 4, 6, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    """A header that is not indexed, with lengths below 127."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def exactly(stream, count):
    data = b""
    while len(data) < count:
        piece = stream.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def serve(stream):
    assert exactly(stream, 24) == b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    stream.sendall(frame(SETTINGS, 0, 0))
    bodies = {}
    try:
        while True:
            head = exactly(stream, 9)
            length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            number = int.from_bytes(head[5:], "big")
            payload = exactly(stream, length)
            if kind == SETTINGS and not flags & ACK:
                stream.sendall(frame(SETTINGS, ACK, 0))
            elif kind == PING and not flags & ACK:
                stream.sendall(frame(PING, ACK, 0, payload))
            elif kind in (HEADERS, DATA):
                bodies.setdefault(number, b"")
                if kind == DATA:
                    bodies[number] += payload
                if flags & END_STREAM:
                    answer = b"\x88" + literal(b"content-type", b"application/grpc")
                    stream.sendall(frame(HEADERS, END_HEADERS, number, answer))
                    stream.sendall(frame(DATA, 0, number, bodies.pop(number)))
                    trailers = literal(b"grpc-status", b"0") + literal(b"grpc-message", b"well")
                    stream.sendall(frame(HEADERS, END_HEADERS | END_STREAM, number, trailers))
    except (EOFError, ConnectionError):
        pass


listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
