# SPDX-License-Identifier: GPL-2.0-or-later
"""Integrity mode: a client that knows two SYNs, and a server that can forget its connections."""
import pytest

import knock_client
from integrity_net import (DEAD, N, PORT, RIGHT, SECRET, THANKS, WRONG, IntegrityNet, address_of)
from lab import KNOCKCTL, wait_until

CONFIG = f"""services = (
  {{ name = "app"; address = [ "10.3.0.2", "fd03::2", "10.2.0.1", "fd02::1" ]; port = {PORT};
    secret = "{SECRET}"; integrity = {N}; reassemble = true; }},
  {{ name = "front"; address = [ "10.2.0.10", "fd02::10" ]; port = {PORT}; secret = "{SECRET}";
    integrity = {N}; backends = ( {{ address = "10.3.0.2"; }}, {{ address = "fd03::2"; }} ); }}
);
queues = {{ first = 40; count = 2; }};
log = {{ level = "debug"; }};
"""
VERIFIED, PENDING, REFUSED = "mark=268435456", "mark=536870912", "mark=805306368"
OPEN = "c.connect()\nc.send('PA', 1, RIGHT)" + THANKS + "\nc.peer = (c.peer + 6) % 2**32\n"
# first is what the server has said before any byte of its own.
BEGIN = OPEN.replace("c.connect()\n", "c.connect()\nfirst = c.peer\n")
BEHIND = f"1 + {len(RIGHT)}"
UNCHECKED = b"unchecked bytes, any"
# The server asks whether the client is still in the connection that it knows.
CHALLENGED = "assert c.wait('A').ack == (c.isn + 1 + {length}) % 2**32\n"
# The client comes again from its port, with the other SYN.
AGAIN = "c.isn, c.peer = (c.isn + other) % 2**32, None\nassert c.connect(), 'no answer'\n"
SOMEWHERE = pytest.mark.parametrize("place,family", [("routed", 0), ("routed", 1), ("backend", 0),
                                                     ("local", 1)])
BYTES = pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])


def sends(right):
    """What a client that came again sends: its new SYN is for WRONG."""
    return "c.send('PA', 1, WRONG)" + THANKS if right else "c.send('PA', 1, RIGHT)" + DEAD


class SynNet(IntegrityNet):
    """A raw client that knows two SYNs: its own, for RIGHT, and another, which is for WRONG."""

    def __init__(self, lab, place="routed", family=0, reject="closed", **more):
        config = CONFIG.replace("integrity =", f'reject = "{reject}"; integrity =')
        super().__init__(lab, config, on_gateway=place == "local", **more)
        self.family, self.at = family, address_of(place, family)
        isn, other = (knock_client.token(KNOCKCTL, SECRET, self.at, PORT, payload[:N])
                      for payload in (RIGHT, WRONG))
        self.prelude = (
            f"import os\nother = {other - isn}\n"
            "def stop(name):\n    print(name, flush=True)\n"
            f"    while not os.path.exists('{lab.folder}/after-' + name): time.sleep(0.01)\n")
        self.process = None

    def client_does(self, script):
        """Runs it to its end."""
        return self.raw(self.prelude + script, self.family, address=self.at)

    def client_starts(self, script):
        """Starts one that calls stop(NAME) where something else is to happen: see until, go_on."""
        self.process = self.raw_process(self.prelude + script, self.family, address=self.at)

    def until(self, name):
        line = self.process.stdout.readline()
        while line == "thanks\n" != name + "\n":
            line = self.process.stdout.readline()
        assert line == name + "\n", line + self.daemon.log()

    def go_on(self, name):
        (self.lab.folder / f"after-{name}").touch()

    def mark(self):
        return next((mark for mark in (VERIFIED, PENDING, REFUSED) if mark in self.tracked(self.next_port)), "")

    def server_forgets(self):
        """Its socket is gone, and it has told nobody."""
        self.host.nft("""table inet silence { chain out { type filter hook output priority -400;
            tcp flags & rst == rst tcp sport 7000 drop; }; }""")
        self.host.run(["ss", "-K", "sport", "=", f":{PORT}", "dport", "=", f":{self.next_port}"],
                      check=False)
        wait_until(lambda: self.sockets() == "", what="the server's socket to be gone")
        self.host.run("nft delete table inet silence")
        assert self.seen() == "ConnectionAbortedError"

    def expect_checked(self, right):
        """The client has come again and sent bytes: WRONG are right for its new SYN."""
        if right:
            self.until("thanks")
            assert self.bytes_seen(len(WRONG)) == WRONG
            self.daemon.wait_event(event="delivered")
        else:
            self.until("reset")
            assert self.seen() == "ConnectionResetError", self.daemon.log()
            assert self.daemon.events(event="reset", reason="payload-wrong")
            assert self.sockets() == ""


def expect_nothing_else(net):
    """Another client's bytes are the next that the application sees."""
    net.raw("c.connect()\nc.send('PA', 1, RIGHT)\n", net.family, address=net.at)
    line = net.seen()
    while line in ("end", "ConnectionResetError"):
        line = net.seen()
    assert line == f"bytes {RIGHT.hex()}", net.daemon.log()
