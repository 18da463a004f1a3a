"""The loopback Hub's HTTP side: ``python -m loopback.server``, from its folder, prints where it answers."""

import os
import socket
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from . import TOKEN_VARIABLE
from .faults import Fault
from .store import CONTROL, Call, Reply, Store


class Handler(BaseHTTPRequestHandler):
    """Reads a request, lets the store answer, and spoils what a fault says to spoil."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every reply waits for the acknowledgement of its own headers
    store: Store

    def do(self) -> None:
        """Serve one request of any method."""
        address = urlsplit(self.path)
        self.unread = int(self.headers.get("Content-Length", 0))
        fault = None if address.path.startswith(CONTROL) else self.store.next_fault(self.command, address.path)
        if fault is not None and fault.kind == "reset" and self.unread:
            self.rfile.read(min(fault.after, self.unread))
            self._reset()
            return
        base = f"http://{self.headers['Host']}"
        call = Call(self.command, address.path, parse_qs(address.query), self.headers, self._body(), base)
        if fault is not None and fault.kind == "status":
            self._send(self._refusal(fault))
            return
        reply = self.store.answer(call)
        if fault is None:
            self._send(reply)
        else:
            self._spoil(reply, fault)

    do_GET = do_HEAD = do_POST = do_PUT = do

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(self.unread)
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _refusal(self, fault: Fault) -> Reply:
        said = f"fault {fault.status}: {self.headers.get('Authorization', '') if fault.echo else 'as asked'}"
        reply = Reply.of({"error": said}, fault.status)
        reply.headers |= fault.headers
        return reply

    def _spoil(self, reply: Reply, fault: Fault) -> None:
        if fault.kind == "lost":
            self._reset()
        elif fault.kind == "slow":
            time.sleep(fault.seconds)
            self._send(reply)
        elif fault.kind == "short":
            self._send(Reply(reply.body[: fault.after], reply.status, reply.headers))
        elif fault.kind == "etag":
            wrong = {name: f'"{"0" * 40}"' for name in reply.headers if name in ("ETag", "X-Linked-Etag")}
            self._send(Reply(reply.body, reply.status, reply.headers | wrong))
        else:  # the first bytes of a reply that says it is whole
            self._send(reply, limit=fault.after)
            self._reset() if fault.kind == "reset" else self._end()

    def _send(self, reply: Reply, limit: int | None = None) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body[:limit])
        self.wfile.flush()

    def _end(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _reset(self) -> None:
        # Closed with bytes to linger for no time at all, a connection ends in a reset and not in a goodbye.
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()

    def finish(self) -> None:
        """End a connection, which a fault may have ended already."""
        if self.connection.fileno() != -1:
            super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: requests are counted by the store."""


class Server(ThreadingHTTPServer):
    """One thread for each connection; a client that hangs up is no news."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Tell of every error but a connection that the other side has ended."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def main() -> None:
    """Serve until standard input ends, which it does when the parent does."""
    Handler.store = Store(os.environ[TOKEN_VARIABLE])
    server = Server(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
