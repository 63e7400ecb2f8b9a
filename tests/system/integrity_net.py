# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of integrity mode share: a network with an application that tells what it sees."""
import os
import select
import subprocess

import pytest

import knock_client
from lab import KNOCKCTL, PYTHON, SOURCE, Daemon
from topology import Direct

N, PORT, SECRET = 16, 7000, "integrity secret"
RIGHT = b"sixteen bytes ok and then some more"
WRONG = b"sixteen bytes no and then some more"
# What every script of raw_client.py knows.
SETUP = f"RIGHT, WRONG, N = {RIGHT!r}, {WRONG!r}, {N}\n"
# Tells on standard output what the application sees of each connection. It closes its half after "half".
APPLICATION = """
import socket, sys, threading
listener = socket.socket(socket.AF_INET6)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.setsockopt(socket.SOL_TCP, socket.TCP_FASTOPEN, 16)
listener.bind(('::', int(sys.argv[1])))
listener.listen()
print('ready', flush=True)
def serve(peer):
    data = b''
    try:
        peer.sendall(sys.argv[2].encode())
        while part := peer.recv(65536):
            data += part
            print('bytes', part.hex(), flush=True)
            if part.endswith(b'half'):
                peer.shutdown(socket.SHUT_WR)
            elif b'half' not in data:
                peer.sendall(b'thanks')
        print('end', flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


class IntegrityNet(Direct):
    """An application on server (or on gateway) that tells what it sees; knockgw on gateway."""

    def __init__(self, lab, config, on_gateway=False, program=None, greeting=""):
        super().__init__(lab)
        self.host = self.gateway if on_gateway else self.server
        self.lab = lab
        self.next_port = 30000
        self.unread = ""
        # Sockets of the raw client do not exist for its kernel.
        self.client.nft("""table inet quiet { chain out { type filter hook output priority 0;
            tcp sport >= 30000 tcp sport < 31000 tcp flags & rst == rst tcp window != 65000 drop; }; }""")
        self.application = self.host.start([PYTHON, "-c", APPLICATION, PORT, greeting],
                                           stdout=subprocess.PIPE)
        assert self.seen() == "ready"
        self.daemon = Daemon(lab, self.gateway, config, program).start()

    def raw_command(self, family, payload, address, port):
        address = address or Direct.SERVER[family]
        isn = knock_client.token(KNOCKCTL, SECRET, address, port, payload[:N])
        self.next_port += 1
        return [PYTHON, SOURCE / "tests/system/raw_client.py", address, Direct.CLIENT[family], port,
                self.next_port, f"{isn:08x}"]

    def raw(self, script, family=0, payload=RIGHT, address=None, port=PORT):
        """Runs a script of raw_client.py with the ISN for that payload."""
        return self.client.run(self.raw_command(family, payload, address, port),
                               input=SETUP + script).stdout

    def raw_process(self, script, family=0, payload=RIGHT, address=None, port=PORT):
        """Starts it, to read what it says while it runs."""
        process = self.client.start(self.raw_command(family, payload, address, port),
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        process.stdin.write(SETUP + script)
        process.stdin.close()
        return process

    def seen(self):
        """The next thing that the application has seen; None when nothing happens."""
        while "\n" not in self.unread:
            if not select.select([self.application.stdout], [], [], 10)[0]:
                return None
            more = os.read(self.application.stdout.fileno(), 65536).decode()
            assert more, "the application has ended"
            self.unread += more
        line, self.unread = self.unread.split("\n", 1)
        return line

    def bytes_seen(self, count):
        data = b""
        while len(data) < count:
            line = self.seen()
            assert line and line.startswith("bytes "), line
            hexadecimal = line.split()[1]
            data += bytes.fromhex(hexadecimal)
        return data

    def tracked(self, source_port):
        return self.gateway.run(["conntrack", "-L", "-p", "tcp", "--sport", source_port],
                                check=False).stdout

    def sockets(self):
        said = self.host.run(["ss", "-Hant", "sport", "=", f":{PORT}"]).stdout
        return "".join(line for line in said.splitlines() if not line.startswith("LISTEN"))


def expect_open(net, said, data=RIGHT):
    assert said.endswith("thanks\n"), said + net.daemon.log()
    assert net.bytes_seen(len(data)) == data


FAMILIES = pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
THANKS = "\nanswer = c.wait('P')\nprint('thanks' if answer and bytes(answer.payload) == b'thanks' else answer)"
DEAD = "\nanswer = c.wait('R')\nprint('reset' if answer else 'silence')"
PLACES = pytest.mark.parametrize("place", ["routed", "backend", "local"])


def address_of(place, family):
    return {"routed": Direct.SERVER, "backend": Direct.FRONT, "local": Direct.GATEWAY}[place][family]
