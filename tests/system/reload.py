# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests of a daemon under way share: reloads that are waited for, and load on its services."""
import contextlib
import json
import os
import signal
import socket
import subprocess

import knock_client
from lab import KNOCKCTL, PYTHON, SOURCE, Daemon

TESTS = SOURCE / "tests/system"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(TESTS)}


class Reloading(Daemon):
    """A daemon that tells when it has reloaded, in the way it tells a service manager."""

    def __init__(self, lab, namespace, config, program=None):
        super().__init__(lab, namespace, config, program)
        self.user = self.config.read_text().removeprefix(config)
        self.notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        lab.callback(self.notifications.close)
        path = lab.folder / f"notify-{self.config.stem}"
        self.notifications.bind(str(path))
        self.notifications.settimeout(20)
        self.environment["NOTIFY_SOCKET"] = str(path)

    def start(self, wait=True):
        super().start(wait=False)
        assert self.notification() == ["READY=1"], self.log()
        return self

    def stop(self):
        status = super().stop()
        assert self.notification() == ["STOPPING=1"]
        return status

    def notification(self):
        try:
            return self.notifications.recv(4096).decode().splitlines()
        except TimeoutError:
            raise AssertionError(self.log()) from None

    def reload(self, config=None):
        """Has it read this configuration. Returns what went wrong, or None."""
        if config is not None:
            self.config.write_text(config + self.user)
        self.process.send_signal(signal.SIGHUP)
        begun = self.notification()
        assert begun[0] == "RELOADING=1" and begun[1].startswith("MONOTONIC_USEC=")
        ended = self.notification()
        assert ended[0] == "READY=1"
        return None if ended[1] == "STATUS=serving" else ended[1]


def isn_of(secret, address, port):
    return knock_client.token(KNOCKCTL, secret, address, port)


def fetch_all(client, address, port, secret, sources, path="/"):
    """What authorised clients at these addresses get, one after the other: a page, or the name of
    an error."""
    code = ("import sys, load\n"
            "address, port, isn, path, *sources = sys.argv[1:]\n"
            "for source in sources:\n"
            "    print(load.Load(address, int(port), isn, source, path).one(), flush=True)\n")
    return client.run([PYTHON, "-c", code, address, port, isn_of(secret, address, port), path,
                       *sources], env=ENVIRONMENT).stdout.splitlines()


def fetch(client, address, port, secret, path="/"):
    """What one authorised client gets."""
    return fetch_all(client, address, port, secret, [""], path)[0]


class Session:
    """An established connection that fetches one page after the other."""

    CODE = ("import sys, load, knock_client as k\n"
            "s = k.connect(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), 10, 0, sys.argv[4])\n"
            "print('open', flush=True)\n"
            "for line in sys.stdin:\n"
            "    try:\n"
            "        s.sendall(b'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')\n"
            "        print(load.read_page(s), flush=True)\n"
            "    except OSError as e: print(type(e).__name__, flush=True)\n")

    def __init__(self, client, address, port, secret, source=""):
        self.process = client.start(
            [PYTHON, "-c", self.CODE, address, port, isn_of(secret, address, port), source],
            env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "open\n"

    def fetch(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


@contextlib.contextmanager
def load(client, address, port, isn, threads=2, source=None):
    """Runs load.py, from the address source if one is given; the dictionary is filled with its
    results at the end."""
    result = {}
    client.sysctl("net.ipv4.ip_local_port_range", "2000 65535")
    process = client.start([PYTHON, TESTS / "load.py", address, port, isn, threads,
                            *([source] if source else [])],
                           env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                           text=True)
    assert process.stdout.readline() == "running\n"
    yield result
    output, _ = process.communicate(timeout=60)
    result.update(json.loads(output))


# Whoever asked this very server for a connection; and the server's resets of such connections.
OWN_RESETS = """table inet own_resets {
  set asked4 { type ipv4_addr . inet_service . inet_service; flags dynamic,timeout; timeout 60s; size 65535; }
  set asked6 { type ipv6_addr . inet_service . inet_service; flags dynamic,timeout; timeout 60s; size 65535; }
  counter resets { }
  chain asked {
    type filter hook input priority 0;
    tcp flags & (syn | ack) == syn update @asked4 { ip saddr . tcp sport . tcp dport }
    tcp flags & (syn | ack) == syn update @asked6 { ip6 saddr . tcp sport . tcp dport }
  }
  chain answered {
    type filter hook output priority 0;
    tcp flags & rst == rst ip daddr . tcp dport . tcp sport @asked4 counter name resets
    tcp flags & rst == rst ip6 daddr . tcp dport . tcp sport @asked6 counter name resets
  }
}
"""


@contextlib.contextmanager
def own_resets(server):
    """Gives a function that tells how often the server's kernel has reset connections to it so far.
    Up to Linux 6.18 it does so, about once in a million times, of its own accord: when the ACK of a
    handshake and the request behind it come on two processors, one of them may find neither the
    request socket, which was just taken out of the table, nor its successor
    (inet_ehash_insert())."""
    server.nft(OWN_RESETS)

    def count():
        listing = json.loads(server.run("nft -j list counter inet own_resets resets").stdout)
        return next(row["counter"]["packets"] for row in listing["nftables"] if "counter" in row)

    yield count
    server.run("nft delete table inet own_resets")


def all_answered(result, pages, resets):
    """Whether the connections of a load all got one of these pages, but for one at most that the
    server's kernel has reset."""
    failed = {answer: count for answer, count in result["answers"].items() if answer not in pages}
    if failed == {"ConnectionResetError": 1} and resets > 0:
        print("one connection was reset by the server's own kernel")
        return True
    return not failed
