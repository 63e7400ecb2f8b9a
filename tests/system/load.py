# SPDX-License-Identifier: GPL-2.0-or-later
"""A load of new connections, one after the other in each of several threads, until its standard
input ends. Runs in the client's namespace and prints as JSON what became of them.

    load.py ADDRESS PORT ISN THREADS [SOURCE]

Each connection must be answered with a page; with the ISN "wrong" each must be refused. The times are the
median and the 99th percentile.
"""
import collections
import json
import random
import re
import sys
import threading
import time

import knock_client

# A SYN that was lost is sent again after a second.
SLOW = 0.9


def read_page(client):
    """One answer. The server keeps the connection, so the client ends it, and no port comes again
    while the server remembers its last connection: without timestamps the ISN is always the same,
    and a server takes such a SYN for an old one."""
    answer = b""
    while True:
        head, end, body = answer.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head) if end else None
        if length and len(body) >= int(length[1]):
            return body.decode()
        piece = client.recv(65536)
        if not piece:
            return "cut short"
        answer += piece


class Load:
    def __init__(self, address, port, isn, source="", path="/"):
        self.address, self.port = address, port
        self.source, self.request = source, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        self.isn = None if isn == "wrong" else int(isn)
        self.answers = collections.Counter()
        self.stopping = threading.Event()
        self.slow = []  # seconds since the epoch at their beginning, and how long connecting took
        self.seconds = []  # of the successful ones, until the answer was there

    def one(self):
        """What became of one connection: the page, or the name of the error."""
        isn = random.getrandbits(32) if self.isn is None else self.isn
        started, wall = time.monotonic(), time.time()

        def connected():
            duration = time.monotonic() - started
            if duration > SLOW:
                self.slow.append((wall, duration))

        try:
            with knock_client.connect(self.address, self.port, isn, 15,
                                      source=self.source) as client:
                connected()
                client.sendall(self.request)
                page = read_page(client)
            self.seconds.append(time.monotonic() - started)
            return page
        except OSError as error:
            connected()
            return type(error).__name__

    def run(self):
        while not self.stopping.is_set():
            self.answers[self.one()] += 1


def main():
    address, port, isn, threads, *source = sys.argv[1:]
    load = Load(address, int(port), isn, *source)
    workers = [threading.Thread(target=load.run) for _ in range(int(threads))]
    for worker in workers:
        worker.start()
    print("running", flush=True)
    sys.stdin.read()
    load.stopping.set()
    for worker in workers:
        worker.join()
    order = sorted(load.seconds) or [0]
    json.dump({"answers": load.answers, "slow": len(load.slow), "slow_ones": load.slow,
               "milliseconds": [1000 * order[len(order) * part // 100] for part in (50, 99)]},
              sys.stdout)


if __name__ == "__main__":
    main()
