# SPDX-License-Identifier: GPL-2.0-or-later
"""Integrity mode: servers with SYN cookies, which take the ACK of a handshake once more when its connection
is gone. The number in it is the beginning of the stream then, and what is added to that may be added to the
cookie, too.

The network is that of topology.Direct: client, gateway with knockgw, server."""
import pytest

from integrity_net import FAMILIES, RIGHT
from lab import wait_until
from syn_net import BEGIN, BEHIND, SOMEWHERE, UNCHECKED, SynNet, expect_nothing_else

GREETING = "220 this server speaks first and long"
ENDS = {
    "FIN": f"c.send('FA', {BEHIND})\nc.peer = (c.wait('F').seq + 1) % 2**32\nc.send('A', 1 + {BEHIND})\n",
    "RST": f"c.send('R', {BEHIND})\n",
}
ATTACKS = {
    "handshake": f"c.send('A', 1)\nc.wait('P', 1)\nc.send('PA', 1, {UNCHECKED})\n",
    "one segment": f"c.send('PA', 1, {UNCHECKED})\nc.send('A', 1)\n",
    "further on": f"c.peer += 5\nc.send('A', 6)\nc.wait('P', 1)\nc.send('PA', 6, {UNCHECKED})\n",
    "recorded bytes": f"c.send('A', 1)\nc.send('PA', 1, RIGHT)\nc.send('PA', 1 + len(RIGHT), {UNCHECKED})\n",
}


@SOMEWHERE
@pytest.mark.parametrize("attack,end,restart", [(attack, "FIN", False) for attack in ATTACKS] + [
    ("handshake", "RST", False), ("handshake", "FIN", True), ("one segment", "RST", True)])
def test_handshake_of_a_connection_that_has_ended(lab, place, family, attack, end, restart):
    """Its entry in the kernel is still there, and still verified."""
    net = SynNet(lab, place, family)
    net.host.sysctl("net.ipv4.tcp_syncookies", 2)
    net.client_starts(BEGIN + ENDS[end] + "stop('ended')\nc.peer = first\n" + ATTACKS[attack] + "stop('tried')\n")
    net.until("ended")
    assert net.bytes_seen(len(RIGHT)) == RIGHT
    wait_until(lambda: net.sockets() == "", what="the server's socket to be gone")
    if restart:
        net.daemon.kill()
        net.daemon.start()
    net.go_on("ended")
    net.until("tried")
    net.go_on("tried")
    # The server did take it for a handshake, so the entry is there, and nothing else keeps the bytes away.
    wait_until(lambda: "ESTAB" in net.sockets(), what="the server's cookie")
    net.daemon.wait_event(event="dropped", reason="connection-ended")
    expect_nothing_else(net)


@SOMEWHERE
def test_server_that_ends_first(lab, place, family):
    """What the client goes on to say arrives, though the daemon is asked about it."""
    net = SynNet(lab, place, family)
    net.client_starts(
        "c.connect()\nc.send('PA', 1, RIGHT + b' half')\nc.peer = (c.wait('F').seq + 1) % 2**32\n"
        f"for i in range(20): c.send('PA', 5 + {BEHIND} + 10 * i, b'0123456789')\n"
        f"while c.wait('A').ack != (c.isn + 205 + {BEHIND}) % 2**32: pass\nstop('said')\n"
        f"c.send('FA', 205 + {BEHIND})\nprint('end' if c.wait('A') else 'silence', flush=True)\nstop('ended')\n")
    net.until("said")
    assert net.bytes_seen(len(RIGHT) + 205) == RIGHT + b" half" + b"0123456789" * 20
    assert net.daemon.events(event="passed", reason="connection-verified")
    net.go_on("said")
    net.until("end")
    net.until("ended")
    assert net.seen() == "end"
    net.go_on("ended")


@FAMILIES
@pytest.mark.parametrize("attack", [
    "for i in range(1, 30):\n    c.peer = (first + i) % 2**32\n    c.send('A', 1 + i)\n",
    "c.send('PA', 1, RIGHT, hops=1)\n"
    "for i in range(1, 30):\n    c.peer = (first + i) % 2**32\n    c.send('A', 1 + i)\n",
    f"c.send('PA', 1, RIGHT[:20], hops=1)\nc.peer = (first + 20) % 2**32\nc.send('PA', 21, {UNCHECKED})\n",
], ids=["nothing", "lost, nothing", "lost, behind it"])
@pytest.mark.parametrize("reset", [False, True], ids=["in silence", "RST"])
def test_late_beginning_behind_a_greeting(lab, family, attack, reset):
    """The server has greeted, and then forgotten. With the greeting acknowledged as far as the number is
    off, the cookie would be right."""
    net = SynNet(lab, "routed", family, greeting=GREETING)
    net.server.sysctl("net.ipv4.tcp_syncookies", 2)
    net.client_starts(
        "c.connect()\nfirst = c.peer\nc.peer = (first + len(c.wait('P').payload)) % 2**32\nc.send('A', 1)\n"
        "stop('greeted')\n" + attack + "c.peer = first\nc.send('A', 1)\nc.send('PA', 1, RIGHT)\nstop('tried')\n")
    net.until("greeted")
    if reset:
        net.server.run(["ss", "-K", "sport", "=", ":7000"], check=False)
        assert net.seen() == "ConnectionAbortedError"
        net.daemon.wait_event(event="passed", reason="server-reply")
    else:
        net.server_forgets()
    net.go_on("greeted")
    net.until("tried")
    net.go_on("tried")
    if reset:
        # Only an answer to a SYN begins another connection.
        assert net.daemon.events(event="dropped", reason="acknowledgement-wrong")
        expect_nothing_else(net)
    else:
        assert net.bytes_seen(len(RIGHT)) == RIGHT
