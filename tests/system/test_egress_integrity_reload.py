# SPDX-License-Identifier: GPL-2.0-or-later
"""Reloads of an egress gateway with destinations of integrity mode. The network is TwoGateways in
topology.py."""
import itertools
import os

import pytest

import knock_server
from egress_net import get, stop_capture
from lab import PYTHON, SOURCE, wait_until
from splice_net import HELLO, SECRET, Client, N, ReloadingNet, destination, protect_config
from topology import TwoGateways

SERVER = TwoGateways.SERVER


def protect(net, integrity):
    assert net.protect.reload(protect_config(integrity)) is None


def states(net):
    return sorted(flow["state"] for flow in net.flows())


def test_first_destination_of_integrity_mode_comes_and_goes(lab):
    """Its workers and its state begin with it. What is joined lives on without it."""
    net = ReloadingNet(lab, destination(0, "other", 22))
    assert Client(net.laptop, SERVER[0]).connected == "ConnectionRefusedError"
    net.reload(destination(0, "other", 22), destination())
    clients = [Client(net.laptop, server) for server in SERVER]
    assert [client.echo() for client in clients] == [HELLO, HELLO]
    assert get(net.laptop, SERVER[1]) == "a hidden page"
    net.reload(destination(0, "other", 22))
    assert [client.echo() for client in clients] == [HELLO, HELLO]
    # New connections go out as the client made them.
    assert Client(net.laptop, SERVER[0]).connected == "ConnectionRefusedError"
    assert Client(net.laptop, SERVER[1]).connected == "ConnectionRefusedError"
    net.reload(destination())
    assert Client(net.laptop, SERVER[1]).echo() == HELLO
    assert [client.echo() for client in clients] == [HELLO, HELLO]


@pytest.mark.parametrize("change", ["N", "key", "mode", "gone"])
def test_half_made_connections_of_another_configuration_are_reset(lab, change):
    net = ReloadingNet(lab)
    joined = Client(net.laptop, SERVER[0])
    assert joined.echo() == HELLO
    half = Client(net.laptop, SERVER[1])
    assert half.send(HELLO[:10]) == "sent"
    wait_until(lambda: states(net) == ["collecting", "established"], what="a half-made connection")
    changed = {"N": destination(N + 1), "key": destination(secret="another"),
               "mode": destination(0), "gone": destination(name="other", port=22)}[change]
    net.reload(changed)
    assert half.echo(HELLO[10:]) in ("ConnectionResetError", "BrokenPipeError")
    assert joined.echo() == HELLO
    assert net.statistics()["configuration-changed"] == 1
    assert net.connections() == 1


def test_half_made_connection_of_the_same_configuration_goes_on(lab):
    net = ReloadingNet(lab)
    half = Client(net.laptop, SERVER[1])
    assert half.send(HELLO[:10]) == "sent"
    wait_until(lambda: states(net) == ["collecting"], what="a half-made connection")
    net.reload(destination(), destination(N, "other", 22), options="mss_ipv6 = 1300;")
    assert half.send(HELLO[10:]) == "sent"
    assert half.receive(len(HELLO)) == HELLO


def test_longer_check(lab):
    """From 32 bytes to more than the buffers had room for."""
    net = ReloadingNet(lab)
    joined = Client(net.laptop, SERVER[0])
    assert joined.echo() == HELLO
    for length in (1400, N, 64):
        protect(net, length)
        net.reload(destination(length))
        client = Client(net.laptop, SERVER[0])
        assert client.echo(HELLO * 40) == HELLO * 40
        assert joined.echo() == HELLO


def test_mode_goes_back_and_forth(lab):
    """Connections of either mode live on in it, on their ports; new ones are made in the new one."""
    net = ReloadingNet(lab, destination(0), integrity=0)
    clients = []
    for integrity in (0, N, 0, N):
        protect(net, integrity)
        net.reload(destination(integrity))
        for server in SERVER:
            clients.append(Client(net.laptop, server))
            assert clients[-1].echo() == HELLO
        assert all(client.echo() == HELLO for client in clients)
    modes = [flow["mode"] for flow in net.flows()]
    assert modes.count("auth") == modes.count("integrity") == 4
    # One of part of what was there, the rest is gone.
    net.reload(destination(N, address='"10.3.0.2"'))
    assert all(client.echo() == HELLO for client in clients)
    assert Client(net.laptop, SERVER[0]).echo() == HELLO
    assert Client(net.laptop, SERVER[1]).connected == "ConnectionRefusedError"


def test_same_tuple_in_the_other_mode(lab):
    """A client's port is used again, before either table has forgotten what was there."""
    net = ReloadingNet(lab, destination(0), integrity=0, masquerade=False)
    for integrity in (0, N, 0):
        protect(net, integrity)
        net.reload(destination(integrity))
        client = Client(net.laptop, SERVER[0], source_port=5555)
        assert client.echo() == HELLO
        # An RST instead of a FIN: nobody waits in TIME_WAIT.
        client.send(HELLO)
        client.abort()
        wait_until(lambda: net.connections() == 0, what="the end of the connection")


def has_token(packet):
    """Whether a SYN is one of either mode."""
    from scapy.all import IP, TCP
    ip, tcp = packet[IP], packet[TCP]
    tsval = dict(tcp.options).get("Timestamp", (0, 0))[0]
    secret = SECRET.encode()
    return tcp.seq in (knock_server.isn(secret, ip.dst, tcp.dport, tsval, tcp.seq & 0xffff),
                       knock_server.authenticator(secret, ip.dst, tcp.dport, tsval, 0))


def test_no_syn_leaves_without_token_while_the_mode_changes(lab):
    """SYNs that come between the change in the daemon and that of the rules, either way: they are
    dropped, and sent again."""
    net = ReloadingNet(lab, destination(0), integrity=0, options="collect_timeout = 1;")
    client = Client(net.laptop, SERVER[0])
    assert client.echo() == HELLO
    # The thread that reloads shall be interrupted by the others, on one processor, too.
    os.setpriority(os.PRIO_PROCESS, net.daemon.process.pid, 5)
    wire = lab.capture(net.nat, "in0", "tcp dst port 80 and tcp[tcpflags] & tcp-syn != 0")
    floods = [net.laptop.start([PYTHON, SOURCE / "tests/system/syn_flood.py", "10.0.0.2", SERVER[0],
                                80, 1000000, 100]) for _ in range(2)]
    wait_until(lambda: wire.capture_path.stat().st_size > 20000, what="SYNs on the wire")

    def drops(event):
        return net.daemon.events(event=event, reason="configuration-changed")
    for integrity in itertools.islice(itertools.cycle((N, 0)), 200):
        net.reload(destination(integrity), options="collect_timeout = 1;")
        if integrity == 0 and len(drops("dropped")) > 5 and len(drops("given-up")) > 5:
            break
    assert len(drops("dropped")) > 5 and len(drops("given-up")) > 5
    # The rules let them pass again, with a token.
    size = wire.capture_path.stat().st_size
    wait_until(lambda: wire.capture_path.stat().st_size > size + 20000, what="SYNs on the wire")
    for flood in floods:
        flood.kill()
    syns = stop_capture(wire)
    assert len(syns) > 100
    assert [packet.summary() for packet in syns if not has_token(packet)] == []
    assert client.echo() == HELLO
    assert Client(net.laptop, SERVER[1]).echo() == HELLO
