# SPDX-License-Identifier: GPL-2.0-or-later
"""The files in nft/, with nothing changed but the definitions at their top."""
import re

import pytest

import kernel
from lab import SOURCE, Daemon
from egress_net import SECRET, get
from topology import Direct, TwoGateways

OWN_RULES = "manage_ruleset = false;\n"


def snippet(name, **definitions):
    text = (SOURCE / "nft" / name).read_text()
    for key, value in definitions.items():
        text, changed = re.subn(rf"^define {key} = .*$", f"define {key} = {value}", text, flags=re.M)
        assert changed == 1
    return text


def load(namespace, text):
    """Loads a snippet. Where the kernel has no queue statement, the xtables target stands in."""
    xtables = not kernel.has_statement(namespace, "queue to 0")
    if xtables:
        print("this kernel has no nft_queue: the queue statements of the snippet are replaced by the "
              "xtables target NFQUEUE")
    kernel.load(namespace, text, xtables)


PROTECT = """services = ( { name = "web"; address = [ "%s", "%s" ]; port = 80; secret = "%s"; } );
queues = { first = 40; count = 2; };
"""


def test_both_snippets_between_real_programs(lab):
    net = TwoGateways(lab)
    lab.nginx(net.server, 80, "a hidden page")
    load(net.gateway, snippet("protect.nft", service4="10.3.0.2", service6="fd03::2", service_port="80"))
    load(net.egress, snippet("egress.nft", servers4="{ 10.3.0.0/24 }", servers6="{ fd03::/64 }",
                             ports="{ 80 }"))
    # Before the daemons run the port is closed, and egress lets no SYN out.
    assert net.nat.run("curl -sS -m 5 http://10.3.0.2/", check=False).returncode == 7
    assert net.laptop.run("curl -sS -m 2 http://10.3.0.2/", check=False).returncode == 28
    protect = Daemon(lab, net.gateway, OWN_RULES + PROTECT % ("10.3.0.2", "fd03::2", SECRET)).start()
    egress = Daemon(lab, net.egress, OWN_RULES + f"""
        egress = ( {{ name = "branch"; destination = [ "10.3.0.0/24", "fd03::/64" ]; port = 80;
                      secret = "{SECRET}"; }} );
        queues = {{ first = 40; count = 1; }};
        state_directory = "{lab.folder}/state";""").start()
    for server in TwoGateways.SERVER:
        for client in (net.laptop, net.egress):
            assert get(client, server) == "a hidden page"
        assert get(net.nat, server) == ""
    for daemon in (protect, egress):
        assert daemon.events(event="ruleset-left-alone")
        assert daemon.stop() == 0
        assert "table inet knockgw" in daemon.namespace.run("nft list tables").stdout
    assert net.nat.run("curl -sS -m 5 http://10.3.0.2/", check=False).returncode == 7


@pytest.mark.parametrize("service", ["local", "routed"])
def test_protect_snippet_answers_like_a_closed_port(lab, service):
    from test_closed_port import UNUSED, answers
    net = Direct(lab)
    net.first_port = 20000
    addresses = Direct.GATEWAY if service == "local" else Direct.SERVER
    lab.nginx(net.gateway if service == "local" else net.server, 80, "hidden")
    load(net.gateway, snippet("protect.nft", service4=addresses[0], service6=addresses[1],
                              service_port="80"))
    daemon = Daemon(lab, net.gateway, OWN_RULES + PROTECT % (*addresses, "s")).start()
    for running in (True, False):
        for family in (0, 1):
            protected, closed = answers(net, addresses[family], 80, family)
            assert protected == closed and len(closed) == 128, UNUSED
        if running:
            daemon.kill()
