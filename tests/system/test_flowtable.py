# SPDX-License-Identifier: GPL-2.0-or-later
"""Connections that the administrator's own rules offload to a flowtable, which the kernel forwards
before any hook. Verified ones may be; pending ones and those of the egress role must not. The networks
are Direct and TwoGateways in topology.py."""
import os
import subprocess

import pytest

import kernel
import knock_client
from egress_net import Net as EgressNet
from lab import KNOCKCTL, KNOCKGW, PYTHON, SOURCE, Daemon, url
from topology import Direct, TwoGateways

CONFIG = """services = (
  { name = "web"; address = [ "10.3.0.2", "fd03::2" ]; port = 80; secret = "one"; },
  { name = "whole"; address = [ "10.3.0.2", "fd03::2" ]; port = 81; secret = "two"; integrity = 16; }
);
queues = { first = 40; count = 2; };
"""
# docs/architecture.md shows this rule.
VERIFIED = "ct mark & 0x30000000 == 0x10000000"
REQUEST = b"GET / HTTP/1.0\r\n\r\n"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SOURCE / "tests/system")}


def offload(namespace, devices, match):
    """The administrator's rules: offload what matches, count what still takes the long way."""
    namespace.nft(f"""table inet fast {{
        flowtable f {{ hook ingress priority filter; devices = {{ {", ".join(devices)} }}; }}
        counter forwarded {{ }}
        chain forward {{ type filter hook forward priority filter; meta l4proto tcp counter name forwarded
                         {match} flow add @f; }}; }}""")


def forwarded(namespace):
    words = namespace.run("nft list counter inet fast forwarded").stdout.split()
    return int(words[words.index("packets") + 1])


@pytest.fixture
def net(lab):
    if not kernel.has_statement(lab.namespace("trial"), "flow add @fast"):
        kernel.lacks("flowtable (nft_flow_offload)")
    net = Direct(lab)
    net.lab = lab
    for port in (80, 81):
        lab.nginx(net.server, port, "a page")
    net.daemon = Daemon(lab, net.gateway, CONFIG).start()
    return net


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_verified_connections(net, family):
    offload(net.gateway, ["out0", "in0"], VERIFIED)
    relay = net.client.start(
        [PYTHON, SOURCE / "tests/system/knock_client.py", "--knockctl", KNOCKCTL, "--listen", 8080,
         Direct.SERVER[family], 80], env={**os.environ, "KNOCK_SECRET": "one"}, stdout=subprocess.PIPE, text=True)
    assert relay.stdout.readline() == "listening\n"
    queued = net.daemon.queued_packets()
    size = net.client.run("curl -sS -o /dev/null -w %{size_download} http://127.0.0.1:8080/big").stdout
    assert size == "100000000"
    # The daemon saw the SYN alone; the forward hook little more than the handshake and the end.
    assert net.daemon.queued_packets() - queued <= 2
    assert 0 < forwarded(net.gateway) < 100
    net.daemon.kill()
    assert net.client.run(["curl", "-sS", "-m", "10", url(Direct.SERVER[family])],
                          check=False).returncode == 7


@pytest.mark.parametrize("signed, answer", [(REQUEST[:16], "b'a page'\n"),
                                            (b"other bytes here", "ConnectionResetError\n")])
def test_pending_connections_are_checked_first(net, signed, answer):
    offload(net.gateway, ["out0", "in0"], VERIFIED)
    code = ("import sys, knock_client as k\n"
            "s = k.connect(sys.argv[1], 81, int(sys.argv[2]), 20)\n"
            "try:\n"
            f"    s.sendall({REQUEST!r})\n"
            "    print(s.makefile('rb').read()[-6:])\n"
            "except OSError as e: print(type(e).__name__)\n")
    isn = knock_client.token(KNOCKCTL, "two", "10.3.0.2", 81, signed)
    assert net.client.run([PYTHON, "-c", code, "10.3.0.2", isn], env=ENVIRONMENT).stdout == answer


def warnings(namespace, config):
    return namespace.run([KNOCKGW, "--check", "--config", config]).stderr


def test_a_rule_that_offloads_too_much_is_told(net):
    """At once while the daemon runs, when it starts, and by --check."""
    assert warnings(net.gateway, net.daemon.config) == ""
    offload(net.gateway, ["out0", "in0"], "ct state established")
    told = net.daemon.wait_event(event="offload")[0]
    assert (told["family"], told["table"], told["chain"]) == ("inet", "fast", "forward")
    assert "pending (integrity) connections" in told["reason"] and VERIFIED.split()[-1] in told["expected"]
    assert told["expected"] in warnings(net.gateway, net.daemon.config)
    net.daemon.stop()
    assert len(Daemon(net.lab, net.gateway, CONFIG).start().events(event="offload")) == 1


def test_a_rule_for_verified_connections_is_fine(net):
    offload(net.gateway, ["out0", "in0"], VERIFIED)
    assert warnings(net.gateway, net.daemon.config) == ""
    net.daemon.stop()
    assert Daemon(net.lab, net.gateway, CONFIG).start().events(event="offload") == []


def test_without_integrity_everything_may_be_offloaded(net):
    offload(net.gateway, ["out0", "in0"], "")
    net.daemon.stop()
    plain = Daemon(net.lab, net.gateway, CONFIG.replace("integrity = 16;", "")).start()
    assert plain.events(event="offload") == [] and warnings(net.gateway, plain.config) == ""


@pytest.fixture
def egress(lab):
    if not kernel.has_statement(lab.namespace("trial"), "flow add @fast"):
        kernel.lacks("flowtable (nft_flow_offload)")
    return EgressNet(lab)


def test_egress_connections_must_be_left_out(egress):
    """With the rule of the documentation they work. Offloaded they would go on untranslated, which stops
    them."""
    def download(*options):
        return egress.laptop.run(["curl", "-sS", "-o", "/dev/null", "-w", "%{size_download}", *options,
                                  url(TwoGateways.SERVER[0], "big")], check=False)

    offload(egress.egress, ["in0", "up0"], "ip daddr != 10.3.0.0/24 ip saddr != 10.3.0.0/24")
    assert download().stdout == "100000000"
    egress.egress.run("nft delete table inet fast")
    offload(egress.egress, ["in0", "up0"], "")
    assert "egress connections" in egress.daemon.wait_event(event="offload")[0]["reason"]
    stopped = download("-m", 5)
    assert stopped.returncode == 28 and int(stopped.stdout) < 100000000
