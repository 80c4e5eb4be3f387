"""gRPC as its interop tests have it, with grpcio on both sides and generic methods, so that nothing is compiled.

interop.py serve ADDRESS            serves until its standard input ends; says "ready"
interop.py client TARGET TLS-FOLDER  runs every case; TLS-FOLDER is "-" for h2c, and may hold a client certificate
"""
import os
import sys
import threading
from concurrent import futures

import grpc

SERVICE = "weft.test.Interop"
LARGE = 4 * 1024 * 1024 - 1024
ODD = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
LIMITS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def unary(request, context):
    metadata = dict(context.invocation_metadata())
    if "x-echo" in metadata:
        context.send_initial_metadata((("x-echo", metadata["x-echo"]),))
        context.set_trailing_metadata((("x-trail-bin", metadata["x-trail-bin"]),))
    return request


def sized(request, context):
    return b"x" * int(request)


def fails(request, context):
    code, message = request.decode().split(":", 1)
    context.abort({c.value[0]: c for c in grpc.StatusCode}[int(code)], message)


def sleeps(request, context):
    # Until the client has had enough.
    ended = threading.Event()
    context.add_callback(ended.set)
    ended.wait(30)
    return b""


def collect(requests, context):
    return str(sum(len(request) for request in requests)).encode()


def spread(request, context):
    for size in request.decode().split(","):
        yield b"y" * int(size)


def bounce(requests, context):
    for request in requests:
        yield request


def bounce_then_fail(requests, context):
    for request in requests:
        yield request
    context.abort(grpc.StatusCode.UNKNOWN, "at the end")


def serve(address):
    one, many = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
    methods = {
        "Unary": one(unary),
        "Sized": one(sized),
        "Fails": one(fails),
        "Sleeps": one(sleeps),
        "Collect": grpc.stream_unary_rpc_method_handler(collect),
        "Spread": grpc.unary_stream_rpc_method_handler(spread),
        "Bounce": many(bounce),
        "BounceThenFail": many(bounce_then_fail),
    }
    server = grpc.server(futures.ThreadPoolExecutor(32), options=LIMITS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    assert server.add_insecure_port(address)
    server.start()
    print("ready", flush=True)
    sys.stdin.read()
    server.stop(None)


class Cases:
    def __init__(self, channel):
        self.channel = channel

    def method(self, kind, name, service=SERVICE):
        return getattr(self.channel, kind)(f"/{service}/{name}")

    def unary(self, name="Unary", **more):
        return self.method("unary_unary", name, **more)

    def status(self, call):
        try:
            call()
        except grpc.RpcError as error:
            return error.code(), error.details()
        raise AssertionError("it succeeded")

    def empty_unary(self):
        assert self.unary()(b"") == b""

    def large_unary(self):
        assert self.unary()(b"z" * LARGE) == b"z" * LARGE

    def large_answer(self):
        assert len(self.unary("Sized")(str(3 * LARGE).encode())) == 3 * LARGE

    def client_streaming(self):
        sizes = [27182, 8, 1828, 45904]
        assert self.method("stream_unary", "Collect")(iter([b"a" * size for size in sizes])) == b"74922"

    def server_streaming(self):
        answers = self.method("unary_stream", "Spread")(b"31415,9,2653,58979")
        assert [len(answer) for answer in answers] == [31415, 9, 2653, 58979]

    def ping_pong(self):
        turn, sizes = threading.Semaphore(1), [27182, 8, 1828, 45904]

        def requests():
            for size in sizes:
                turn.acquire()
                yield b"p" * size

        seen = []
        for answer in self.method("stream_stream", "Bounce")(requests()):
            seen.append(len(answer))
            turn.release()
        assert seen == sizes

    def empty_stream(self):
        assert list(self.method("stream_stream", "Bounce")(iter([]))) == []

    def half_duplex(self):
        assert len(list(self.method("stream_stream", "Bounce")(iter([b"h"] * 500)))) == 500

    def cancel_after_begin(self):
        begun, more = threading.Event(), threading.Event()

        def requests():
            begun.set()
            more.wait()
            yield b""

        call = self.method("stream_unary", "Collect").future(requests())
        begun.wait()
        call.cancel()
        more.set()
        assert call.code() == grpc.StatusCode.CANCELLED

    def cancel_after_first_response(self):
        more = threading.Event()

        def requests():
            yield b"one"
            more.wait()

        call = self.method("stream_stream", "Bounce")(requests())
        assert next(call) == b"one"
        call.cancel()
        more.set()
        assert self.status(lambda: next(call))[0] == grpc.StatusCode.CANCELLED

    def timeout_on_sleeping_server(self):
        code, _ = self.status(lambda: self.unary("Sleeps")(b"", timeout=0.2))
        assert code == grpc.StatusCode.DEADLINE_EXCEEDED, code

    def status_code_and_message(self):
        assert self.status(lambda: self.unary("Fails")(b"2:test status")) == (grpc.StatusCode.UNKNOWN, "test status")
        call = self.method("stream_stream", "BounceThenFail")(iter([b"a"]))
        assert next(call) == b"a"
        assert self.status(lambda: next(call)) == (grpc.StatusCode.UNKNOWN, "at the end")

    def every_status(self):
        for code in grpc.StatusCode:
            if code != grpc.StatusCode.OK:
                assert self.status(lambda: self.unary("Fails")(f"{code.value[0]}:no".encode())) == (code, "no")

    def special_status_message(self):
        code, message = self.status(lambda: self.unary("Fails")(f"2:{ODD}".encode()))
        assert (code, message) == (grpc.StatusCode.UNKNOWN, ODD), message

    def unimplemented_method(self):
        assert self.status(lambda: self.unary("Missing")(b""))[0] == grpc.StatusCode.UNIMPLEMENTED

    def unimplemented_service(self):
        call = self.unary(service="weft.test.Missing")
        assert self.status(lambda: call(b""))[0] == grpc.StatusCode.UNIMPLEMENTED

    def compressed(self):
        body = b"c" * 314159
        assert self.unary()(body, compression=grpc.Compression.Gzip) == body
        stream = self.method("stream_stream", "Bounce")
        assert list(stream(iter([body, b"d"]), compression=grpc.Compression.Gzip)) == [body, b"d"]

    def custom_metadata(self):
        sent = (("x-echo", "initial"), ("x-trail-bin", b"\xab\xab\xab\x00\xff"))
        _, call = self.unary().with_call(b"", metadata=sent)
        assert ("x-echo", "initial") in call.initial_metadata()
        assert ("x-trail-bin", b"\xab\xab\xab\x00\xff") in call.trailing_metadata()

    def soak(self):
        def one(_):
            return self.unary()(b"s" * 1000) == b"s" * 1000

        with futures.ThreadPoolExecutor(16) as pool:
            assert all(pool.map(one, range(500)))


def channel(target, folder):
    if folder == "-":
        return grpc.insecure_channel(target, options=LIMITS)

    def read(name):
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            return None
        with open(path, "rb") as file:
            return file.read()

    credentials = grpc.ssl_channel_credentials(read("ca.pem"), read("key.pem"), read("cert.pem"))
    name = (("grpc.ssl_target_name_override", "weft.test"),)
    return grpc.secure_channel(target, credentials, options=[*LIMITS, *name])


def client(target, folder):
    names = [name for name in vars(Cases) if not name.startswith("_") and name not in ("method", "unary", "status")]
    with channel(target, folder) as made:
        for name in names:
            getattr(Cases(made), name)()
            print("passed", name, flush=True)


if __name__ == "__main__":
    {"serve": serve, "client": client}[sys.argv[1]](*sys.argv[2:])
