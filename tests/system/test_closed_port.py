# SPDX-License-Identifier: GPL-2.0-or-later
"""A protected port answers like a closed one, in every field, whatever the flags of the probe.

The network is Direct in topology.py. Each case sends 256 probes (64 combinations of flags, with and
without payload, two TOS values) for each family to a protected port and to an unused one.
"""
import json

import pytest

from lab import PYTHON, SOURCE, Daemon
from topology import Direct

UNUSED = 4711
CONFIG = """
services = (
  { name = "local";  address = [ "10.2.0.1", "fd02::1" ]; port = 80; secret = "one"; %(reject)s },
  { name = "dnat";   address = [ "10.2.0.10", "fd02::10" ]; port = 8022; secret = "two"; %(reject)s
    backends = ( { address = "10.3.0.2"; port = 80; }, { address = "fd03::2"; port = 80; } ); },
  { name = "routed"; address = [ "10.3.0.2", "fd03::2" ]; port = 80; secret = "three"; %(reject)s }
);
queues = { first = 40; count = 2; };
"""
SERVICES = {"local": (Direct.GATEWAY, 80), "dnat": (Direct.FRONT, 8022), "routed": (Direct.SERVER, 80)}
FIREWALLS = {
    "open": "",
    "no-invalid": """table inet fw {
        chain i { type filter hook input priority filter; ct state invalid drop; };
        chain f { type filter hook forward priority filter; ct state invalid drop; }; }""",
    "no-closed-ports": """table inet fw {
        chain i { type filter hook input priority filter; policy drop; iif lo accept;
                  icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept;
                  ct state established,related accept; tcp dport 80 ct state new accept; };
        chain f { type filter hook forward priority filter; policy drop;
                  ct state established,related accept; tcp dport 80 ct state new accept; }; }""",
}


@pytest.fixture
def net(lab):
    net = Direct(lab)
    net.lab = lab
    net.first_port = 20000
    lab.nginx(net.gateway, 80, "gateway")
    lab.nginx(net.server, 80, "server")
    return net


def answers(net, address, port, family):
    # Every run has tuples of its own: conntrack remembers those of the last one for a while.
    net.first_port += 1000
    output = net.client.run([PYTHON, SOURCE / "tests/system/probe.py", "up0", Direct.CLIENT[family],
                             address, port, UNUSED, net.first_port]).stdout
    return json.loads(output)


def differences(net, service, family):
    addresses, port = SERVICES[service]
    protected, closed = answers(net, addresses[family], port, family)
    names = sorted(set(protected) | set(closed))
    return len(names), [f"{name}: {protected.get(name)} instead of {closed.get(name)}"
                        for name in names if protected.get(name) != closed.get(name)]


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("firewall", FIREWALLS)
@pytest.mark.parametrize("service", SERVICES)
def test_every_probe_is_answered_as_by_a_closed_port(net, service, firewall, family):
    if FIREWALLS[firewall]:
        net.gateway.nft(FIREWALLS[firewall])
    daemon = Daemon(net.lab, net.gateway, CONFIG % {"reject": ""}).start()
    answered, found = differences(net, service, family)
    # Under an open firewall a closed port answers whatever has no RST: 32 of the 64 combinations.
    assert answered == {"open": 128, "no-closed-ports": 0}.get(firewall, answered)
    assert found == []
    daemon.kill()
    assert differences(net, service, family) == (answered, [])


def test_the_comparison_can_fail(net):
    """Answers that the gateway makes up itself differ, and the comparison says so."""
    Daemon(net.lab, net.gateway, CONFIG % {"reject": 'reject = "reset";'}).start()
    for family in (0, 1):
        _, found = differences(net, "routed", family)
        assert any("ttl" in line or "hop_limit" in line for line in found)


def test_silence_is_a_choice(net):
    Daemon(net.lab, net.gateway, CONFIG % {"reject": 'reject = "drop";'}).start()
    protected, closed = answers(net, Direct.SERVER[0], 80, 0)
    assert protected == {} and len(closed) == 128
