# SPDX-License-Identifier: GPL-2.0-or-later
"""Both sides behind NAT: the router in front of the protect gateway forwards a port to it. The network
is TwoGateways of topology.py; nat translates 10.1.0.1:8080 and [fd01::1]:8080 to gateway's FRONT."""
import pytest

from lab import Daemon, url
from topology import TwoGateways

SECRET = "a secret between two gateways"
PUBLIC = ("10.1.0.1", "fd01::1")


def forward_port(net):
    net.nat.nft(f"""table inet forward {{ chain in {{ type nat hook prerouting priority dstnat;
        iifname "in0" tcp dport 8080 dnat ip to {net.FRONT[0]}:80
        iifname "in0" tcp dport 8080 dnat ip6 to [{net.FRONT[1]}]:80; }}; }}""")


def protect(net, public):
    return f"""services = ( {{ name = "web"; address = [ "{net.FRONT[0]}", "{net.FRONT[1]}" ];
        port = 80; secret = "{SECRET}"; {public}
        backends = ( {{ address = "10.3.0.2"; }}, {{ address = "fd03::2"; }} ); }} );"""


@pytest.mark.parametrize("public, opens", [
    (f'public_address = [ "{PUBLIC[0]}", "{PUBLIC[1]}" ]; public_port = 8080;', True),
    (f'public_address = [ "{PUBLIC[0]}", "{PUBLIC[1]}" ];', False),
    ("", False)])
def test_forwarded_port(lab, public, opens):
    net = TwoGateways(lab)
    forward_port(net)
    lab.nginx(net.server, 80, "a hidden page")
    Daemon(lab, net.gateway, protect(net, public)).start()
    Daemon(lab, net.egress, f"""egress = ( {{ name = "web"; port = 8080; secret = "{SECRET}";
        destination = [ "{PUBLIC[0]}", "{PUBLIC[1]}" ]; }} );
        state_directory = "{lab.folder}/state";""").start()
    for address in PUBLIC:
        where = f"[{address}]:8080" if ":" in address else f"{address}:8080"
        page = net.laptop.run(["curl", "-sS", "-m", "10", f"http://{where}/"], check=False).stdout
        assert (page == "a hidden page") == opens, address
        # Who has no token finds it closed.
        assert net.nat.run(["curl", "-sS", "-m", "5", url(net.FRONT[":" in address])],
                           check=False).returncode == 7
