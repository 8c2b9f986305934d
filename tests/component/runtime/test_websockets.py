"""Open websockets get their close frame at a stop, and hold nothing back: with the libraries that apps use."""

import re
import signal
import ssl
import struct
import threading
import time

import pytest
import websocket

from tests.component.runtime.test_worker import certified

FLASK_SOCK = """
    import time
    from flask import Flask, Response, request
    from flask_sock import Sock
    from simple_websocket import ConnectionClosed

    app = Flask(__name__)
    sock = Sock(app)

    @sock.route("/ws")
    def echo(ws):
        try:
            while True:
                ws.send("you said " + ws.receive())
        except ConnectionClosed as closed:
            print("closed with", int(closed.reason), flush=True)
            raise

    @sock.route("/pushes")
    def push(ws):
        while True:
            ws.send("x" * 300)
            time.sleep(0.01)

    @sock.route("/deaf")
    def deaf(ws):
        time.sleep(600)

    @sock.route("/fails")
    def fails(ws):
        ws.receive()
        raise KeyError("in a websocket")

    @sock.route("/watches")
    def watches(ws):
        stopping = request.environ["pygun.stopping"]
        stopping.wait(60)
        print("told of the stop", stopping.is_set(), flush=True)

    @sock.route("/large")
    def large(ws):
        ws.send(b"y" * 5_000_000)
        ws.receive()

    @app.get("/")
    def index():
        return "ok"

    @app.get("/stream")
    def stream():
        def events():
            for number in range(8):
                yield f"data: {number}\\n\\n"
                time.sleep(0.2)
        return Response(events(), mimetype="text/event-stream")
"""
SOCKETIO = """
    from flask import Flask
    from flask_socketio import SocketIO

    app = Flask(__name__)
    socketio = SocketIO(app, async_mode="gevent")

    @socketio.on("disconnect")
    def disconnect(*_reason):
        print("client disconnected", flush=True)

    @app.get("/")
    def index():
        return "ok"
"""
BY_HAND = """
    def app(environ, start_response):
        sock = environ["gunicorn.socket"]
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n\\r\\n")
        sock.sendall(b"\\x81")
        sock.sendall(b"\\x7e\\x00\\xc8" + b"z" * 100)
        environ["pygun.stopping"].wait(30)
        import gevent
        gevent.sleep(0.5)
        sock.sendall(b"z" * 100)
        while sock.recv(100):
            pass
        return []
"""
HANDSHAKE = [
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "X-Request-ID: the-socket",
]


def serve(host, app, **settings):
    return host.start(app=app, accesslog="-", **settings).wait_ready()


def open_websocket(host, path="/ws", **options):
    address = f"ws://127.0.0.1:{host.address[1]}{path}"
    return websocket.create_connection(address, timeout=30, header=HANDSHAKE[-1:], **options)


def close_code(client):
    """The status of the close frame that ends a connection; the client answers it, as all do."""
    while True:
        opcode, data = client.recv_data(control_frame=True)
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            return struct.unpack("!H", data[:2])[0]


def fields(instance, *texts):
    """The lines of the log, as JSON, that have all of these."""
    return [line for line in instance.log_path.read_text().splitlines() if all(text in line for text in texts)]


def test_six_open_websockets_are_closed_at_once(host):
    instance = serve(host, FLASK_SOCK, graceful_timeout=30)
    clients = [open_websocket(host) for _ in range(6)]
    for client in clients:
        client.send("hello")
        assert client.recv() == "you said hello"
    codes = []
    threads = [threading.Thread(target=lambda client=client: codes.append(close_code(client))) for client in clients]
    for thread in threads:
        thread.start()
    seconds = instance.stop()
    for thread in threads:
        thread.join()
    assert codes == [1001] * 6
    assert seconds < 10  # of 30; about one on a quiet machine
    assert instance.log().count("closed with") == 6
    lines = fields(instance, '"http.response.status_code":101', '"http.request.id":"the-socket"', '"url.path":"/ws"')
    assert len(lines) == 6
    assert all(int(re.search(r'"event.duration":(\d+)', line)[1]) > 0 for line in lines)
    assert "cut off" not in instance.log()


def test_a_stream_beside_them_loses_nothing(host):
    instance = serve(host, FLASK_SOCK, graceful_timeout=30)
    client = open_websocket(host)
    stream = host.connect()
    stream.send("/stream")
    time.sleep(0.5)
    instance.signal(signal.SIGTERM)
    assert close_code(client) == 1001
    assert stream.receive()[2].count("data:") == 8
    assert instance.wait_exit() == 0


@pytest.mark.parametrize("path", ["/pushes", "/watches", "/fails"])
def test_handlers_of_any_kind_end(host, path):
    instance = serve(host, FLASK_SOCK, graceful_timeout=30)
    client = open_websocket(host, path)
    time.sleep(0.3)
    instance.signal(signal.SIGTERM)
    assert close_code(client) == 1001
    assert instance.wait_exit() == 0
    assert "cut off" not in instance.log()
    assert len(fields(instance, '"http.response.status_code":101', path)) == 1
    assert ("told of the stop True" in instance.log()) == (path == "/watches")


def test_a_handler_that_goes_on_is_cut_off_before_requests_are_and_named_with_its_id(host):
    instance = serve(host, FLASK_SOCK, graceful_timeout=30)
    client = open_websocket(host, "/deaf")
    instance.signal(signal.SIGTERM)
    start = time.monotonic()
    assert close_code(client) == 1001
    assert instance.wait_exit() == 0
    assert 4 < time.monotonic() - start < 20
    (line,) = fields(instance, "The websocket did not end, cut off: GET /deaf after")
    assert '"http.request.id":"the-socket"' in line
    assert len(fields(instance, '"http.response.status_code":101', "/deaf")) == 1


def test_a_client_that_never_answers_holds_nothing_back(host):
    instance = serve(host, FLASK_SOCK, graceful_timeout=30)
    client = host.connect()
    client.send("/ws", headers=HANDSHAKE)
    assert client.file.readline().split()[1] == b"101"
    assert instance.stop() < 15
    assert client.file.read().endswith(b"\x88\x02\x03\xe9")
    assert "cut off" not in instance.log()


def test_a_client_that_reads_nothing_gets_no_torn_frame(host):
    instance = serve(host, FLASK_SOCK, graceful_timeout=30)
    client = open_websocket(host, "/large")
    time.sleep(0.5)
    instance.signal(signal.SIGTERM)
    time.sleep(0.5)
    assert len(client.recv()) == 5_000_000
    assert close_code(client) == 1001
    assert instance.wait_exit() == 0


def test_the_close_frame_waits_for_the_end_of_a_frame_that_comes_in_pieces(host):
    instance = serve(host, BY_HAND, graceful_timeout=30)
    client = host.connect()
    client.send("/", headers=HANDSHAKE)
    while client.file.readline() != b"\r\n":
        pass
    assert client.file.read(104) == b"\x81\x7e\x00\xc8" + b"z" * 100
    instance.signal(signal.SIGTERM)
    assert client.file.read() == b"z" * 100 + b"\x88\x02\x03\xe9"
    assert instance.wait_exit() == 0


def test_socket_io_is_told(host):
    instance = serve(host, SOCKETIO, graceful_timeout=30)
    client = open_websocket(host, "/socket.io/?EIO=4&transport=websocket")
    assert client.recv().startswith("0{")
    client.send("40")
    assert client.recv().startswith("40{")
    instance.signal(signal.SIGTERM)
    assert close_code(client) == 1001
    assert instance.wait_exit() == 0
    assert "client disconnected" in instance.log()
    assert "cut off" not in instance.log()
    assert len(fields(instance, '"http.response.status_code":101', "/socket.io/")) == 1


def test_an_error_in_a_handler_sends_no_answer_between_the_frames(host, eventually):
    instance = serve(host, FLASK_SOCK)
    client = open_websocket(host, "/fails")
    client.send("go on")
    with pytest.raises((websocket.WebSocketConnectionClosedException, ConnectionError)):
        client.recv()
    eventually(lambda: fields(instance, '"http.response.status_code":101', "/fails"), what=instance.log)
    assert "in a websocket" in instance.log()
    assert fields(instance, '"http.response.status_code":500') == []


def test_a_refused_websocket_is_a_request_like_others(host, eventually):
    instance = serve(host, FLASK_SOCK)
    client = host.connect()
    client.send("/", headers=HANDSHAKE)
    assert client.receive()[0] == 400
    assert client.get("/")[::2] == (200, "ok")
    for status in (400, 200):
        eventually(
            lambda status=status: len(fields(instance, f'"http.response.status_code":{status}')) == 1, what=instance.log
        )


def test_websockets_over_tls(host):
    instance = serve(host, FLASK_SOCK, graceful_timeout=30, **certified(host))
    context = ssl._create_unverified_context()  # noqa: S323
    client = open_websocket(host, socket=context.wrap_socket(host.connect().socket))
    client.send("hello")
    assert client.recv() == "you said hello"
    instance.signal(signal.SIGTERM)
    assert close_code(client) == 1001
    assert instance.wait_exit() == 0
