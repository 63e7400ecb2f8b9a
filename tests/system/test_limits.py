# SPDX-License-Identifier: GPL-2.0-or-later
"""Failed tokens by source prefix and service. The network is drawn in topology.py (Crossroads)."""
import signal

import pytest

import knock_client
from lab import KNOCKCTL, PYTHON, Daemon, wait_until
from topology import Crossroads

SECRET = "limited"


def config(limits):
    return f"""services = ( {{ name = "web"; address = [ "10.2.0.1", "fd02::1" ]; port = 80;
      secret = "{SECRET}"; }} );
      queues = {{ first = 40; count = 2; }};
      limits = {{ {limits} }};"""


@pytest.fixture
def net(lab):
    return Crossroads(lab)


def connect(net, namespace, family, source, count=1):
    """What came of connections with the right token."""
    here = Crossroads.GATEWAY[family]
    return net.attempts(namespace, here, knock_client.token(KNOCKCTL, SECRET, here, 80), source,
                        count)


FLOOD = """
import random, socket, sys
from scapy.all import IP, IPv6, TCP, raw
address, source, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
v6 = ":" in address
chance = random.Random(1)
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for i in range(count):
    if source != "forged":
        own = source
    elif v6:
        own = "2001:db8:%x:%x::1" % (chance.getrandbits(16), chance.getrandbits(16))
    else:
        own = "11.%d.%d.%d" % (chance.getrandbits(8), chance.getrandbits(8), chance.getrandbits(8))
    s.sendto(raw((IPv6 if v6 else IP)(src=own, dst=address) / TCP(
        sport=1024 + i % 60000, dport=80, flags="S", seq=chance.getrandbits(32))), (address, 0))
"""


def flood(net, family, source, count):
    """That many SYNs with wrong tokens, as fast as they can be made."""
    return net.other.start([PYTHON, "-c", FLOOD, Crossroads.GATEWAY[family], source, count])


REFUSED = "ConnectionRefusedError"


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_attacker_is_held_and_nobody_else(net, family):
    daemon = Daemon(net.lab, net.gateway,
                    config("max_failures = 20; back_off = 7;")).start()
    own, neighbour = Crossroads.OTHER[family], Crossroads.OTHER_SAME_PREFIX[family]
    apart, client = Crossroads.OTHER_PREFIX[family], Crossroads.CLIENT[family]
    assert connect(net, net.other, family, own) == ["open"]
    attacker = flood(net, family, own, 2000)
    held, = daemon.wait_event(event="source-held")[:1]
    assert held["prefix"] == ("fd04::/56" if family else "10.4.0.0/24")
    # The whole prefix, right token or not; others all the time, with not one failure.
    assert connect(net, net.other, family, neighbour) == [REFUSED]
    connections = 0
    while attacker.poll() is None or connections == 0:
        assert connect(net, net.client, family, client, 20) == ["open"]
        assert connect(net, net.other, family, apart, 20) == ["open"]
        connections += 40
    assert attacker.wait() == 0
    assert daemon.events(event="refused", reason="source-held")
    assert {event["prefix"] for event in daemon.events(event="source-held")} == {held["prefix"]}
    wait_until(lambda: connect(net, net.other, family, own) == ["open"], timeout=40,
               what="the hold to end")


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_forged_sources_lock_nobody_out(net, family):
    """A flood in the name of everybody: the service is told of, all clients come in."""
    daemon = Daemon(net.lab, net.gateway, config(
        "max_failures = 5; back_off = 60; max_service_failures = 50;")).start()
    attacker = flood(net, family, "forged", 3000)
    daemon.wait_event(event="service-attacked", service="web")
    connections = 0
    while attacker.poll() is None or connections == 0:
        assert connect(net, net.client, family, Crossroads.CLIENT[family], 20) == ["open"]
        assert connect(net, net.other, family, Crossroads.OTHER[family], 20) == ["open"]
        connections += 40
    assert attacker.wait() == 0
    assert not daemon.events(event="source-held")
    daemon.process.send_signal(signal.SIGUSR1)
    counted, = daemon.wait_event(event="alarm-statistics")
    assert counted["source_alarms"] == "0" and int(counted["service_alarms"]) >= 1


def test_by_default_the_attacker_is_only_told_of(net):
    """Else somebody who forges the sources of others could lock them out."""
    daemon = Daemon(net.lab, net.gateway, config("max_failures = 20;")).start()
    attacker = flood(net, 0, "10.4.0.2", 1000)
    told, = daemon.wait_event(event="source-failing")[:1]
    assert told["prefix"] == "10.4.0.0/24" and told["max_failures"] == "20"
    assert connect(net, net.other, 0, "10.4.0.2", 20) == ["open"]
    assert attacker.wait() == 0
    assert connect(net, net.other, 0, "10.4.0.3", 20) == ["open"]
    assert not daemon.events(event="refused", reason="source-held")


def test_prefix_lengths_are_configurable(net):
    daemon = Daemon(net.lab, net.gateway, config(
        "max_failures = 20; back_off = 60; ipv4_prefix = 32; ipv6_prefix = 48;")).start()
    for family, prefix in ((0, "10.4.0.2/32"), (1, "fd04::/48")):
        assert flood(net, family, Crossroads.OTHER[family], 200).wait() == 0
        assert daemon.wait_event(event="source-held", prefix=prefix)
    assert connect(net, net.other, 0, "10.4.0.2") == [REFUSED]
    assert connect(net, net.other, 0, "10.4.0.3") == ["open"]
    assert connect(net, net.other, 1, Crossroads.OTHER_PREFIX[1]) == [REFUSED]
    assert connect(net, net.client, 1, Crossroads.CLIENT[1]) == ["open"]
