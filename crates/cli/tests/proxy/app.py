"""A small web program: what tests ask of it is in the path."""

import base64
import hashlib
import http.server
import json
import sys
import threading
import urllib.parse

GO = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def say(self, body, kind="text/plain"):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def piece(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def stream(self, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def pieces(self):
        """The pieces of the request's body, as they come."""
        if "Content-Length" in self.headers:
            left = int(self.headers["Content-Length"])
            while left and (data := self.rfile.read(min(left, 1 << 16))):
                left -= len(data)
                yield data
            return
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def do_GET(self):
        path = urllib.parse.urlsplit(self.path)
        if path.path == "/told":
            told = {"path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}}
            self.say(json.dumps(told).encode(), "application/json")
        elif path.path == "/whoami":
            self.say(b"%d %d" % (self.server.server_port, self.client_address[1]))
        elif path.path == "/large":
            count = int(path.query)
            self.send_response(200)
            self.send_header("Content-Length", str(count))
            self.end_headers()
            block = bytes(range(256)) * 256
            for at in range(0, count, len(block)):
                self.wfile.write(block[: count - at])
        elif path.path == "/events":
            self.stream("text/event-stream")
            self.piece(b"data: first\n\n")
            GO.wait(60)
            self.piece(b"data: second\n\n")
            self.piece(b"")
        elif path.path == "/go":
            GO.set()
            self.say(b"gone")
        elif path.path == "/silent":
            self.close_connection = True
        elif path.path == "/garbage":
            self.wfile.write(b"this is no HTTP at all\r\n\r\n")
            self.close_connection = True
        elif path.path == "/upgrade":
            key = self.headers.get("Sec-WebSocket-Key", "")
            accept = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode())
            self.send_response(101)
            self.send_header("Connection", "Upgrade")
            self.send_header("Upgrade", self.headers["Upgrade"])
            self.send_header("Sec-WebSocket-Accept", base64.b64encode(accept.digest()).decode())
            self.end_headers()
            while data := self.connection.recv(1 << 16):
                self.connection.sendall(data)
            self.close_connection = True
        else:
            self.send_error(404)

    def do_POST(self):
        if self.path == "/sum":
            seen, count = hashlib.sha256(), 0
            for data in self.pieces():
                seen.update(data)
                count += len(data)
            self.say(b"%d %s" % (count, seen.hexdigest().encode()))
        elif self.path == "/echo":
            self.stream("application/octet-stream")
            for data in self.pieces():
                self.piece(data)
            self.piece(b"")
        else:
            self.send_error(404)


def serve(port):
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


for port in sys.argv[2:]:
    threading.Thread(target=serve, args=(int(port),), daemon=True).start()
serve(int(sys.argv[1]))
