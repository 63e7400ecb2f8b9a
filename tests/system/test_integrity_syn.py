# SPDX-License-Identifier: GPL-2.0-or-later
"""Integrity mode: right SYNs on the tuple of a connection that lives, or has lived. Whoever has
recorded a SYN can send it again in the name of a client, and a client whose server has forgotten it
comes again from the same port.

The network is that of topology.Direct: client, gateway with knockgw, server."""
import pytest

from faults import PROGRAM, Faults
from integrity_net import DEAD, FAMILIES, RIGHT, THANKS, WRONG
from lab import wait_until
from syn_net import AGAIN, BYTES, CHALLENGED, OPEN, SOMEWHERE, VERIFIED, SynNet, sends


@SOMEWHERE
def test_recorded_syn_under_a_verified_connection(lab, place, family):
    net = SynNet(lab, place, family)
    net.client_starts(
        OPEN + "stop('open')\nfor i in range(3): c.send('S', other, b'data')\n" +
        CHALLENGED.format(length=len(RIGHT)) + "stop('asked')\n"
        "for i in range(20):\n    c.send('PA', 1 + len(RIGHT) + 10 * i, b'0123456789')\n    c.wait('P')\n"
        "print('thanks')")
    net.until("open")
    net.daemon.wait_event(event="delivered")
    net.go_on("open")
    net.until("asked")
    assert net.mark() == VERIFIED
    assert len(net.daemon.events(event="passed", reason="tuple-busy")) == 3
    net.go_on("asked")
    net.until("thanks")
    assert net.bytes_seen(len(RIGHT) + 200) == RIGHT + b"0123456789" * 20
    assert net.mark() == VERIFIED


@SOMEWHERE
@pytest.mark.parametrize("held", [0, 9], ids=["nothing yet", "bytes held"])
def test_recorded_syn_under_a_pending_connection(lab, place, family, held):
    if place == "backend" and held:
        held = 0  # without reassemble
    net = SynNet(lab, place, family)
    said = net.client_does(
        "c.connect()\n" + (f"c.send('PA', 1, RIGHT[:{held}])\nc.wait('A')\n" if held else "") +
        "for i in range(3): c.send('S', other)\n" + CHALLENGED.format(length=0) +
        f"c.send('PA', 1 + {held}, RIGHT[{held}:])" + THANKS)
    assert said == "thanks\n", said + net.daemon.log()
    assert net.bytes_seen(len(RIGHT)) == RIGHT
    assert len(net.daemon.events(event="pending", reason="tuple-busy")) == 3


@SOMEWHERE
@BYTES
def test_client_of_a_server_that_has_forgotten(lab, place, family, right):
    """It comes again on the same tuple at once, and its bytes are checked anew."""
    net = SynNet(lab, place, family)
    net.client_starts(OPEN + "stop('open')\n" + AGAIN + sends(right))
    net.until("open")
    net.daemon.wait_event(event="delivered")
    assert net.bytes_seen(len(RIGHT)) == RIGHT
    net.server_forgets()
    assert net.mark() == VERIFIED
    net.go_on("open")
    net.expect_checked(right)
    assert net.daemon.events(reason="tuple-busy")


@FAMILIES
@BYTES
def test_client_of_a_server_that_has_forgotten_while_bytes_are_held(lab, family, right):
    net = SynNet(lab, "routed", family)
    net.client_starts("c.connect()\nc.send('PA', 1, RIGHT[:9])\nc.wait('A')\nstop('held')\n" + AGAIN +
                      sends(right))
    net.until("held")
    net.server_forgets()
    net.go_on("held")
    net.expect_checked(right)


@FAMILIES
@pytest.mark.parametrize("end", ["FIN", "RST"])
def test_same_isn_after_the_end(lab, family, end):
    """Without timestamps a client has one token for all its connections."""
    net = SynNet(lab, "routed", family)
    ends = {"FIN": "c.send('FA', 1 + len(RIGHT))\nc.peer = (c.wait('F').seq + 1) % 2**32\n"
                   "c.send('A', 2 + len(RIGHT))\n",
            "RST": "c.send('R', 1 + len(RIGHT))\n"}[end]
    net.client_starts(OPEN + ends + "stop('ended')\n" + OPEN + ends + "stop('ended again')\n"
                      "c.connect()\nc.send('PA', 1, WRONG)" + DEAD)
    for turn in ("ended", "ended again"):
        net.until(turn)
        wait_until(lambda: net.sockets() == "", what="the server's socket to be gone")
        assert net.bytes_seen(len(RIGHT)) == RIGHT
        assert net.seen() in ("end", "ConnectionResetError")
        net.go_on(turn)
    net.until("reset")
    assert net.seen() == "ConnectionResetError", net.daemon.log()


@FAMILIES
@BYTES
def test_daemon_that_has_forgotten_as_well(lab, family, right):
    net = SynNet(lab, "routed", family)
    net.client_starts(
        OPEN + "stop('open')\nc.send('S', other)\n" + CHALLENGED.format(length=len(RIGHT)) +
        "c.send('PA', 1 + len(RIGHT), b'0123456789')" + THANKS + "\nstop('asked')\n" + AGAIN +
        sends(right))
    net.until("open")
    net.daemon.wait_event(event="delivered")
    net.daemon.kill()
    net.daemon.start()
    net.go_on("open")
    net.until("asked")
    assert net.bytes_seen(len(RIGHT) + 10) == RIGHT + b"0123456789"
    assert net.mark() == VERIFIED
    net.server_forgets()
    net.go_on("asked")
    net.expect_checked(right)


def test_syn_ack_while_nobody_is_there(lab):
    """A server that has agreed to a new connection on a verified tuple waits for the daemon."""
    net = SynNet(lab)
    net.client_starts(OPEN + "stop('open')\nc.isn, c.peer = (c.isn + other) % 2**32, None\n"
                      "c.send('S')\nprint('answered' if c.wait('SA', 5) else 'silence')\n"
                      "stop('silent')\n"
                      "assert c.connect(), 'no answer'\nc.send('PA', 1, RIGHT)" + DEAD)
    net.until("open")
    net.daemon.wait_event(event="delivered")
    net.bytes_seen(len(RIGHT))
    net.server_forgets()
    net.server.nft("""table inet late { counter answers { }; chain out {
        type filter hook output priority 0;
        tcp flags & (syn | ack) == syn | ack counter name answers drop; }; }""")
    net.go_on("open")
    net.daemon.wait_event(event="passed", reason="tuple-busy")
    net.daemon.kill()
    net.server.nft("flush chain inet late out; add rule inet late out "
                   "tcp flags & (syn | ack) == syn | ack counter name answers")
    net.until("silence")
    assert "packets 0" not in net.server.run("nft reset counter inet late answers").stdout
    assert net.mark() == VERIFIED
    net.until("silent")
    # It has forgotten the SYN, too. The client's next one begins anew.
    net.daemon.start()
    net.go_on("silent")
    net.expect_checked(right=False)


def test_mark_that_cannot_be_set(lab):
    """The SYN+ACK waits until the kernel knows that the connection is to be checked."""
    net = SynNet(lab, program=PROGRAM)
    net.daemon.stop()
    faults = Faults(lab)
    net.daemon.environment.update(faults.environment)
    net.daemon.start()
    net.client_starts(OPEN + "stop('open')\n" + AGAIN.replace("c.connect()", "c.connect(patience=9)") +
                      sends(False))
    net.until("open")
    net.daemon.wait_event(event="delivered")
    net.bytes_seen(len(RIGHT))
    net.server_forgets()
    faults.marks = 2
    net.go_on("open")
    net.expect_checked(right=False)
    assert faults.marks == 0 and len(net.daemon.events(event="dropped", reason="server-reply")) == 2


@FAMILIES
def test_syn_ack_forged_on_the_client_s_side(lab, family):
    """Who cannot speak for the server cannot say that it has begun anew."""
    net = SynNet(lab, "routed", family)
    for kind in ("all", "default", "out0"):
        net.gateway.sysctl(f"net.ipv4.conf.{kind}.rp_filter", 0)
    net.client_starts(
        OPEN + "stop('open')\nc.send('S', other)\n" + CHALLENGED.format(length=len(RIGHT)) +
        "for i in range(3): c.send_back('SA', c.peer, other + 1)\nstop('forged')\n"
        "c.send('PA', 1 + len(RIGHT), b'0123456789')" + THANKS)
    net.until("open")
    net.daemon.wait_event(event="delivered")
    net.go_on("open")
    net.until("forged")
    assert net.mark() == VERIFIED
    net.go_on("forged")
    net.until("thanks")
    assert net.bytes_seen(len(RIGHT) + 10) == RIGHT + b"0123456789"


@FAMILIES
def test_server_in_another_connection(lab, family):
    """An RST that does not reach the server makes room for another SYN here, but not there. What the
    server says and takes then belongs to the first one."""
    net = SynNet(lab, "routed", family)
    said = net.client_does(
        "c.connect()\nc.send('R', 1, hops=1)\nfirst = c.peer\nc.send('S', other)\n" +
        CHALLENGED.format(length=0) +
        "c.send('PA', other + 1, WRONG)\nc.send('A', 1)\nc.send('PA', 1, b'unchecked bytes, any')\n"
        "assert c.wait('P', 1) is None\nc.send('R', 1)\n" + AGAIN + sends(True))
    assert said == "thanks\n", said + net.daemon.log()
    # Two threads of the application, which speak in the order in which they come to it.
    assert {net.seen(), net.seen()} == {"ConnectionResetError", f"bytes {WRONG.hex()}"}
    assert len(net.daemon.events(event="dropped", reason="acknowledgement-wrong")) == 3


@FAMILIES
def test_two_cookies_of_the_server(lab, family):
    """With the cookie of one SYN nobody completes the handshake of another."""
    net = SynNet(lab, "routed", family)
    net.server.sysctl("net.ipv4.tcp_syncookies", 2)
    said = net.client_does(
        "c.send('S')\nc.peer = (c.wait('SA').seq + 1) % 2**32\nc.send('S', other)\n"
        "second = (c.wait('SA').seq + 1) % 2**32\nc.send('A', 1)\nc.send('PA', 1, b'unchecked bytes, any')\n"
        "c.send('PA', 1, RIGHT)\nassert c.wait('P', 1) is None\n"
        "c.isn, c.peer = (c.isn + other) % 2**32, second\nc.send('A', 1)\n" + sends(True))
    assert said == "thanks\n", said + net.daemon.log()
    assert net.bytes_seen(len(WRONG)) == WRONG
    assert len(net.daemon.events(event="dropped", reason="acknowledgement-wrong")) == 3
