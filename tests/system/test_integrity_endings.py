# SPDX-License-Identifier: GPL-2.0-or-later
"""Integrity mode: ends of verified connections that conntrack and the server take differently.

The network is that of topology.Direct: client, gateway with knockgw, server."""
import signal

import pytest

from integrity_net import FAMILIES, RIGHT, THANKS, address_of
from lab import wait_until
from syn_net import (AGAIN, BEGIN, BEHIND, BYTES, OPEN, REFUSED, SOMEWHERE, UNCHECKED, VERIFIED, SynNet,
                     expect_nothing_else, sends)

# The client goes on, behind RIGHT.
GOES_ON = f"c.send('PA', {BEHIND}, b'0123456789')" + THANKS + "\nstop('gone on')\n"
ANEW = f"c.peer = first\nc.send('A', 1)\nc.send('PA', 1, {UNCHECKED})\n"


def expect_going_on(net):
    net.until("gone on")
    assert net.bytes_seen(len(RIGHT) + 10) == RIGHT + b"0123456789"
    assert net.mark() == VERIFIED
    net.go_on("gone on")


@FAMILIES
def test_last_acknowledgement_in_a_fin(lab, family):
    """For conntrack the server has yet to get it, and it stays so with one FIN after the other."""
    net = SynNet(lab, "routed", family)
    net.server.sysctl("net.ipv4.tcp_syncookies", 2)
    net.client_starts(
        BEGIN + f"c.send('FA', {BEHIND})\nc.peer = (c.wait('F').seq + 1) % 2**32\nc.send('FA', {BEHIND})\n"
        f"stop('ended')\nc.peer = first\nc.send('FPA', 1, {UNCHECKED})\nstop('tried')\n")
    net.until("ended")
    assert net.bytes_seen(len(RIGHT)) == RIGHT
    wait_until(lambda: net.sockets() == "", what="the server's socket to be gone")
    net.go_on("ended")
    net.until("tried")
    net.daemon.wait_event(event="dropped", reason="connection-ended")
    net.go_on("tried")
    expect_nothing_else(net)


LAST = f"c.send('FPA', {BEHIND}, b'the last bytes'"


@FAMILIES
@pytest.mark.parametrize("first", ["client", "server"])
def test_last_bytes_in_a_fin(lab, family, first):
    """A FIN that comes once more looks to conntrack like one of the server, and one of the client behind
    the server's like the end. Its bytes are bytes of the connection all the same."""
    net = SynNet(lab, "routed", family)
    if first == "client":
        # Lost behind the gateway.
        net.client_does(OPEN + LAST + f", hops=1)\n{LAST})\nassert c.wait('F')")
        assert net.bytes_seen(len(RIGHT) + 14) == RIGHT + b"the last bytes"
    else:
        net.client_does("c.connect()\nc.send('PA', 1, RIGHT + b'half')\nc.peer = (c.wait('F').seq + 1) % 2**32\n"
                        + LAST.replace("', ", "', 4 + ", 1) + ")\nassert c.wait('A')")
        assert net.bytes_seen(len(RIGHT) + 18) == RIGHT + b"halfthe last bytes"
    assert net.seen() == "end"
    assert not net.daemon.events(event="dropped", reason="connection-ended")


@FAMILIES
@pytest.mark.parametrize("repeated", [1, 5], ids=["", "repeated"])
def test_reset_that_conntrack_does_not_expect(lab, family, repeated):
    """The RST comes behind bytes that the server has not acknowledged, and another segment stands between.
    When that came some times over, conntrack goes on as long for the RST as for any other segment."""
    net = SynNet(lab, "routed", family)
    net.server.sysctl("net.ipv4.tcp_syncookies", 2)
    net.client_starts(
        BEGIN + f"c.send('A', {BEHIND})\nstop('open')\nc.send('PA', {BEHIND}, b'0123456789')\n"
        f"for i in range({repeated}): c.send('A', {BEHIND}, hops=1)\nc.send('R', 10 + {BEHIND})\nstop('reset')\n" +
        ANEW + "stop('tried')\n")
    net.until("open")
    net.server.nft("table inet late { chain out { type filter hook output priority 0; tcp sport 7000 drop; }; }")
    net.go_on("open")
    net.until("reset")
    assert net.bytes_seen(len(RIGHT) + 10) == RIGHT + b"0123456789"
    net.server.run("nft delete table inet late")
    net.go_on("reset")
    net.until("tried")
    # The server was asked where it is, and has not been answered yet.
    assert "ESTAB" in net.sockets() and net.mark() == VERIFIED
    net.go_on("tried")
    expect_nothing_else(net)


@FAMILIES
def test_client_that_resets_with_bytes_on_their_way(lab, family):
    """The server's answer to the question brings an RST that stands where it expects it."""
    net = SynNet(lab, "routed", family)
    net.client_starts(
        OPEN + f"c.send('A', {BEHIND})\nstop('open')\nc.send('PA', {BEHIND}, b'0123456789', hops=1)\n"
        f"c.send('A', {BEHIND})\nc.send('R', 10 + {BEHIND})\nanswer = c.wait('A')\n"
        f"assert answer.ack == (c.isn + {BEHIND}) % 2**32\nc.send('R', {BEHIND})\nstop('reset')\n")
    net.until("open")
    assert net.bytes_seen(len(RIGHT)) == RIGHT
    net.go_on("open")
    net.until("reset")
    assert net.seen() == "ConnectionResetError"
    net.go_on("reset")


@FAMILIES
@BYTES
def test_reset_by_the_server(lab, family, right):
    """The client has not acknowledged all that it said, so conntrack goes on."""
    net = SynNet(lab, "routed", family)
    net.server.sysctl("net.ipv4.tcp_syncookies", 2)
    net.client_starts(
        BEGIN.replace("c.peer = (c.peer + 6) % 2**32\n", f"c.send('A', {BEHIND})\n") + "stop('open')\n"
        "assert c.wait('R')\n" + ANEW + "assert c.wait('R')\nstop('tried')\n"
        # The first SYN makes room for the next.
        "c.isn, c.peer = (c.isn + other) % 2**32, None\nassert c.connect(patience=1) or c.connect()\n" +
        sends(right))
    net.until("open")
    assert net.bytes_seen(len(RIGHT)) == RIGHT
    net.server.run(["ss", "-K", "sport", "=", ":7000"], check=False)
    assert net.seen() == "ConnectionAbortedError"
    net.go_on("open")
    net.until("tried")
    assert net.sockets() == ""
    net.go_on("tried")
    net.expect_checked(right)


@SOMEWHERE
def test_reset_behind_a_closed_window(lab, place, family):
    """It stands where the window closed, and the client has acknowledged more: conntrack has seen that, and
    the server has not."""
    net = SynNet(lab, place, family)
    net.host.sysctl("net.ipv4.tcp_syncookies", 2)
    net.client_starts(
        BEGIN.replace("c.peer + 6", "c.peer + 3") + f"c.send('A', {BEHIND}, window=0)\nstop('shut')\n"
        f"c.peer = (c.peer + 3) % 2**32\nc.send('A', {BEHIND}, window=0)\nstop('lost')\n" + ANEW +
        "stop('tried')\n")
    net.until("shut")
    assert net.bytes_seen(len(RIGHT)) == RIGHT
    wait_until(lambda: " 3 " in net.sockets(), what="three bytes to be without acknowledgement")
    net.host.nft("table inet lost { chain in { type filter hook input priority 0; tcp dport 7000 drop; }; }")
    net.go_on("shut")
    net.until("lost")
    assert net.mark() == VERIFIED
    net.host.run(["ss", "-K", "sport", "=", ":7000"], check=False)
    assert net.seen() == "ConnectionAbortedError"
    wait_until(lambda: net.mark() == REFUSED, what="the end")
    assert net.daemon.events(event="passed", reason="connection-ended")
    net.host.run("nft delete table inet lost")
    net.go_on("lost")
    net.until("tried")
    net.go_on("tried")
    assert net.sockets() == ""
    expect_nothing_else(net)


FORGED = {
    # Behind a closed window it needs no number. The server's own address, too, as it is behind the gateway's NAT.
    "RST": f"for source in (None, real): c.send_back('RA', first, {BEHIND}, source)\n",
    # With one in the client's name, which no server takes, it would be the end.
    "FIN": f"c.send_back('FA', c.peer, {BEHIND})\nc.send('FA', {BEHIND} + 10**9)\n",
}


@SOMEWHERE
@pytest.mark.parametrize("kind", FORGED)
def test_end_that_the_clients_network_forges(lab, place, family, kind):
    """It must come from where the server is."""
    net = SynNet(lab, place, family)
    net.client_starts(
        f"real = '{address_of('routed', family)}'\n" + BEGIN + f"c.send('A', {BEHIND})\n" + FORGED[kind] +
        GOES_ON)
    expect_going_on(net)


@FAMILIES
def test_reset_by_the_server_while_the_daemon_thinks(lab, family):
    """What it then says of an earlier segment is about a connection that is gone."""
    net = SynNet(lab, "routed", family)
    net.client_starts(
        "c.connect()\nc.send('PA', 1, RIGHT + b'half')\nc.peer = (c.wait('F').seq + 1) % 2**32\n"
        f"c.send('A', 4 + {BEHIND})\nstop('half')\nc.send('A', 4 + {BEHIND}, hops=1)\nassert c.wait('R', 20)\n"
        "stop('reset')\n")
    net.until("half")
    assert net.bytes_seen(len(RIGHT) + 4) == RIGHT + b"half"
    passed = {"event": "passed", "reason": "connection-verified"}
    wait_until(lambda: "FIN-WAIT-2" in net.sockets(), what="the client's acknowledgement")
    before = len(net.daemon.events(**passed))
    net.daemon.process.send_signal(signal.SIGSTOP)
    net.go_on("half")
    wait_until(lambda: net.daemon.waiting_packets() == 1, what="a segment to wait for the daemon")
    net.server.run(["ss", "-K", "sport", "=", ":7000"], check=False)
    net.until("reset")
    assert net.mark() == REFUSED
    net.daemon.process.send_signal(signal.SIGCONT)
    wait_until(lambda: len(net.daemon.events(**passed)) > before, what="the verdict")
    net.go_on("reset")
    wait_until(lambda: net.daemon.waiting_packets() == 0, what="the verdict")
    assert net.mark() == REFUSED


@SOMEWHERE
@pytest.mark.parametrize("reject,flags", [("closed", flags) for flags in ("SA", "SFA", "", "FPU", "FA")] +
                         [("reset", flags) for flags in ("SA", "F")])
def test_answer_of_the_decoy(lab, place, family, reject, flags):
    """Anybody can send a probe in the client's name. The RST that answers it would stand where it says, or at
    0, before what the client has acknowledged."""
    net = SynNet(lab, place, family, reject=reject)
    net.client_starts(
        OPEN + f"c.send('A', {BEHIND})\nc.peer = (c.peer + 1000) % 2**32\nc.send('{flags}', 12345)\n"
        f"assert (c.wait('R', 1) is None) == {'A' in flags}\nc.peer = (c.peer - 1000) % 2**32\n"
        + GOES_ON)
    expect_going_on(net)


@FAMILIES
def test_syn_ack_of_a_connection_that_was_never_assured(lab, family):
    """For conntrack it was closed before its handshake was done."""
    net = SynNet(lab, "routed", family)
    net.client_starts(
        "c.send('S')\nc.peer = (c.wait('SA').seq + 1) % 2**32\nc.send('R', 1, hops=1)\nc.send('A', 1)\n"
        "c.send('PA', 1, RIGHT)" + THANKS + f"\nc.peer = (c.peer + 6) % 2**32\nc.send('A', {BEHIND})\nstop('open')\n"
        f"c.send('R', {BEHIND})\nc.send('A', {BEHIND}, hops=1)\n" + AGAIN + sends(False))
    net.until("open")
    assert net.bytes_seen(len(RIGHT)) == RIGHT
    assert "ASSURED" not in net.tracked(net.next_port)
    net.go_on("open")
    net.until("reset")
    assert net.seen() == "ConnectionResetError"
    assert net.daemon.events(event="reset", reason="payload-wrong")
    expect_nothing_else(net)
