"""The rest of the world, in a network namespace of its own: a name service, and one host that greets at port 80.

Says `up` when it runs, waits for a line, says `ready` once it listens; when standard input ends, tells what it was
asked and who came.
"""

import json
import socket
import sys
import threading

NAMES = {
    "allowed.test": "93.184.216.34",
    "other.test": "93.184.216.34",
    "meta.test": "169.254.169.254",
    "near.test": "10.99.0.2",
    "mine.test": "10.99.0.1",
}
ASKED: list[str] = []
CAME: list[str] = []


def names(service: socket.socket) -> None:
    while True:
        query, asker = service.recvfrom(600)
        at, labels = 12, []
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += 1 + query[at]
        name, question = ".".join(labels), query[12 : at + 5]
        ASKED.append(name)
        address = NAMES.get(name) if query[at + 1 : at + 3] == b"\0\1" else None
        code = 0 if name in NAMES else 3
        record = b"\xc0\x0c\0\1\0\1\0\0\0\x1e\0\4" + socket.inet_aton(address) if address else b""
        header = query[:2] + bytes((0x81, 0x80 | code, 0, 1, 0, 1 if record else 0, 0, 0, 0, 0))
        service.sendto(header + question + record, asker)


def greet(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            CAME.append(connection.getsockname()[0])
            connection.recv(4000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 14\r\n\r\nhello from far")


if __name__ == "__main__":
    print("up", flush=True)
    sys.stdin.readline()  # now the network is there too
    service = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    service.bind(("0.0.0.0", 53))
    listener = socket.create_server(("0.0.0.0", 80))
    for work, on in ((names, service), (greet, listener)):
        threading.Thread(target=work, args=(on,), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()
    print(json.dumps({"asked": ASKED, "came": CAME}), flush=True)
