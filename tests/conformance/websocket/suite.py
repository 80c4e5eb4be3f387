"""WebSocket straight to a server and through a proxy: the same must come of every case, its close included.

suite.py serve ADDRESS PORT          serves until it is killed; says "ready"
suite.py client DIRECT PROXIED       runs every case at both, each HOST:PORT
"""
import socket
import struct
import sys

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import serve


def handle(ws):
    try:
        for message in ws:
            if not isinstance(message, str) or not message.startswith("do:"):
                ws.send(message)
                continue
            what, _, argument = message[3:].partition(":")
            if what == "close":
                code, reason = argument.split(",", 1)
                ws.close(int(code), reason)
            elif what == "burst":
                for n in range(int(argument)):
                    ws.send(f"{n}:" + "x" * 1000)
                ws.close(1000, "all sent")
            elif what == "fragments":
                ws.send(iter(["one ", "two ", "three"]))
            elif what == "abort":
                linger = struct.pack("ii", 1, 0)
                ws.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                ws.socket.shutdown(socket.SHUT_RDWR)
                return
    except ConnectionClosed:
        pass


def closing(ws):
    """The close as this side saw it."""
    try:
        while True:
            ws.recv(timeout=60)
    except ConnectionClosed as closed:
        return (closed.rcvd and (closed.rcvd.code, closed.rcvd.reason)), (closed.sent and closed.sent.code)


def echo(ws):
    for message in ["", "text", "ünïcødé 😈", b"", bytes(range(256)), b"z" * 70000]:
        ws.send(message)
        assert ws.recv(timeout=60) == message
    ws.close()
    return closing(ws)


def large(ws):
    body = b"L" * (8 * 1024 * 1024)
    ws.send(body)
    assert ws.recv(timeout=60) == body


def fragments(ws):
    ws.send(iter(["frag", "men", "ted"]))
    assert ws.recv(timeout=60) == "fragmented"
    ws.send(iter([b"a" * 1000] * 200))
    assert ws.recv(timeout=60) == b"a" * 200_000
    ws.send("do:fragments")
    return list(ws.recv_streaming())


def ping(ws):
    assert ws.ping(b"are you there").wait(60)
    ws.ping().wait(60)
    ws.pong(b"unasked")
    ws.send("still here")
    return ws.recv(timeout=60)


def close_here(ws):
    ws.close(3001, "enough")
    return closing(ws)


def close_there(ws):
    ws.send("do:close:4002,go away")
    return closing(ws)


def close_with_nothing_said(ws):
    ws.close(1000, "")
    return closing(ws)


def burst_then_close(ws):
    ws.send("do:burst:2000")
    got = 0
    try:
        while True:
            assert ws.recv(timeout=60).startswith(f"{got}:")
            got += 1
    except ConnectionClosed as closed:
        return got, closed.rcvd and closed.rcvd.code


def aborted_there(ws):
    ws.send("do:abort")
    return closing(ws)


def aborted_here(ws):
    linger = struct.pack("ii", 1, 0)
    ws.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    ws.socket.shutdown(socket.SHUT_RDWR)
    return closing(ws)


def raw(address, *frames):
    """Bytes that come back for frames that a well-behaved client would not send."""
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=60) as sock:
        head = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        sock.sendall((head + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n").encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += sock.recv(65536)
        rest = answer.split(b"\r\n\r\n", 1)[1]
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        for frame in frames:
            sock.sendall(frame)
        while piece := sock.recv(65536):
            rest += piece
        return rest


def frame(opcode, payload, first=0x80):
    assert len(payload) < 126
    return bytes([first | opcode, 0x80 | len(payload), 0, 0, 0, 0]) + payload


RAW = {
    "a close with a code": [frame(8, struct.pack(">H", 1000) + b"bye")],
    "a close without a code": [frame(8, b"")],
    "a code that is not allowed": [frame(8, struct.pack(">H", 1006))],
    "a reason that is no text": [frame(8, struct.pack(">H", 1000) + b"\xff\xfe")],
    "half a code": [frame(8, b"\x03")],
    "text that is no text": [frame(1, b"\xff\xfe")],
    "an opcode nobody knows": [frame(3, b"x")],
    "a reserved bit": [frame(1, b"x", 0xC0)],
    "a frame without a mask": [b"\x81\x01x"],
    "a fragmented ping": [frame(9, b"x", 0)],
    "a continuation of nothing": [frame(0, b"x")],
    "a message inside a message": [frame(1, b"x", 0), frame(1, b"y")],
    "a ping inside a message": [frame(1, b"x", 0), frame(9, b"p"), frame(0, b"y"), frame(8, b"")],
    "a message after the close": [frame(8, struct.pack(">H", 1000)), frame(1, b"late")],
}
CASES = [
    echo, large, fragments, ping, close_here, close_there, close_with_nothing_said, burst_then_close, aborted_there,
    aborted_here,
]


def outcome(case, address):
    with connect(f"ws://{address}/", max_size=None, compression=None, open_timeout=60) as ws:
        return case(ws)


def client(direct, proxied):
    for case in CASES:
        wanted, got = outcome(case, direct), outcome(case, proxied)
        assert wanted == got, f"{case.__name__}: {wanted} straight, {got} through the proxy"
        print("passed", case.__name__, flush=True)
    for name, frames in RAW.items():
        wanted, got = raw(direct, *frames), raw(proxied, *frames)
        assert wanted == got, f"{name}: {wanted} straight, {got} through the proxy"
        print("passed", name, flush=True)


def main(what, first, second):
    if what == "client":
        return client(first, second)
    with serve(handle, first, int(second), max_size=None, compression=None) as server:
        print("ready", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
