# SPDX-License-Identifier: GPL-2.0-or-later
"""The queue statement of nftables and the xtables target NFQUEUE give the same verdicts on the same
traffic. The networks are Direct and TwoGateways in topology.py; the rules are those that knockgw
prints, installed once in each way."""
import json
import os
import signal

import pytest

import kernel
import knock_client
from egress_net import PROTECT, SECRET, egress_config, get
from lab import KNOCKCTL, KNOCKGW, PYTHON, SOURCE, Daemon, url, wait_until
from topology import Direct, TwoGateways

UNUSED = 4711
CONFIG = """services = (
  { name = "local";  address = [ "10.2.0.1", "fd02::1" ]; port = 80; secret = "one"; },
  { name = "routed"; address = [ "10.3.0.2", "fd03::2" ]; port = 80; secret = "two"; integrity = 16; }
);
queues = { first = 40; count = 2; };
"""
REQUEST = b"GET / HTTP/1.0\r\n\r\n"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SOURCE / "tests/system")}


def start(lab, namespace, config, xtables):
    daemon = Daemon(lab, namespace, "manage_ruleset = false;\n" + config)
    kernel.load(namespace, namespace.run([KNOCKGW, "--config", daemon.config, "--print-ruleset"]).stdout,
                xtables)
    return daemon.start()


def counters(daemon):
    """Packets by role and reason."""
    daemon.process.send_signal(signal.SIGUSR1)
    counted = wait_until(lambda: daemon.events(event="statistics"), what="the statistics")
    return {(event.get("role"), event["reason"]): event["packets"] for event in counted
            if "reason" in event}


def probe(net, address, family, first_port):
    return json.loads(net.client.run([PYTHON, SOURCE / "tests/system/probe.py", "up0",
                                      Direct.CLIENT[family], address, 80, UNUSED, first_port]).stdout)


def fetch(net, address, secret, signed=None):
    """What a client gets whose token is made with that secret, and with these bytes."""
    code = ("import sys, knock_client as k\n"
            "try:\n"
            "    s = k.connect(sys.argv[1], 80, int(sys.argv[2]), 20)\n"
            f"    s.sendall({REQUEST!r})\n"
            "    print(s.makefile('rb').read()[-7:])\n"
            "except OSError as e: print(type(e).__name__)\n")
    isn = knock_client.token(KNOCKCTL, secret, address, 80, signed)
    return net.client.run([PYTHON, "-c", code, address, isn], env=ENVIRONMENT).stdout


def protect_record(lab, xtables):
    net = Direct(lab)
    lab.nginx(net.gateway, 80, "gateway")
    lab.nginx(net.server, 80, "server.")
    daemon = start(lab, net.gateway, CONFIG, xtables)
    local, routed = Direct.GATEWAY[0], Direct.SERVER[1]
    record = {"probes": [probe(net, local, 0, 20000), probe(net, routed, 1, 21000)],
              "counters": counters(daemon)}
    record["fetched"] = [fetch(net, local, "one"), fetch(net, local, "two"),
                         fetch(net, routed, "two", REQUEST[:16]), fetch(net, routed, "two", b"other bytes here"),
                         fetch(net, routed, "two")]
    daemon.kill()
    # bypass: an empty queue is a closed port.
    record["dead"] = [fetch(net, local, "one"), fetch(net, routed, "two", REQUEST[:16])]
    return record


def egress_record(lab, xtables):
    net = TwoGateways(lab)
    lab.nginx(net.server, 80, "a hidden page")
    Daemon(lab, net.gateway, PROTECT).start()
    daemon = start(lab, net.egress, egress_config(lab), xtables)
    pages = [get(client, server) for client in (net.laptop, net.egress) for server in TwoGateways.SERVER]
    written = counters(daemon)["egress", "token-written"]
    daemon.kill()
    dead = net.laptop.run(["curl", "-sS", "-m", "3", url(TwoGateways.SERVER[0])], check=False)
    return {"pages": pages, "written": written, "dead": dead.returncode}


@pytest.fixture
def both(lab):
    """Runs the same traffic through both kinds of queue, each in a network of its own."""
    if not kernel.has_statement(lab.namespace("trial"), "queue to 0"):
        kernel.lacks("queue statement (nft_queue)")
    return lambda record: (record(lab, False), record(lab, True))


def test_protect(both):
    native, xtables = both(protect_record)
    assert native["fetched"] == ["b'gateway'\n", "ConnectionRefusedError\n", "b'server.'\n",
                                 "ConnectionResetError\n", "ConnectionRefusedError\n"]
    assert native["dead"] == ["ConnectionRefusedError\n"] * 2
    for protected, closed in native["probes"]:
        assert protected == closed and len(closed) == 128
    assert native["counters"]["protect", "token-wrong"] != "0"
    assert xtables == native


def test_egress(both):
    native, xtables = both(egress_record)
    assert native == {"pages": ["a hidden page"] * 4, "written": "4", "dead": 28}
    assert xtables == native


def test_the_rules_are_of_different_kinds(both):
    """What is compared above is not the same thing twice."""
    def record(lab, xtables):
        gateway = lab.namespace("gateway")
        start(lab, gateway, CONFIG, xtables)
        return gateway.run("nft --debug=netlink list chain inet knockgw ask").stdout

    native, xtables = both(record)
    assert "[ queue num 40-41 bypass ]" in native and "NFQUEUE" not in native
    assert "[ target name NFQUEUE rev 3 ]" in xtables
