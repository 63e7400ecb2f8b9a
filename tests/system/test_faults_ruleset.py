# SPDX-License-Identifier: GPL-2.0-or-later
"""
laptop ---- egress (knockgw) ---- nat ---- gateway (knockgw) ---- server

Somebody else takes the rules away under a running daemon, with traffic on its way. Lost: nothing of
the connections that were authorised. Between the change and the repair a service is as open as the
other rules leave it; what was opened then ends with the repair.
"""
import signal
import subprocess

import pytest

from egress_net import Net, finish_transfer, get, put_file, size_of, start_transfer
from lab import PYTHON, wait_until

WAYS = ["delete table inet knockgw", "flush table inet knockgw", "flush ruleset",
        "delete chain inet knockgw egress_in", "flush chain inet knockgw protect"]


def ruleset(namespace):
    return namespace.run("nft -t list table inet knockgw", check=False).stdout


def spoil(namespace, daemon, way):
    """Takes rules away, and waits until they are back."""
    restored = len(daemon.events(event="ruleset-restored"))
    namespace.run(f"nft {way}")
    wait_until(lambda: len(daemon.events(event="ruleset-restored")) > restored,
               what="the ruleset to be restored")
    assert daemon.events(event="ruleset-changed")[-1]["by"] == "nft"


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.replace(" ", "-"))
def test_rules_come_back_under_traffic(lab, way):
    net = Net(lab, masquerade=False)
    before = {namespace.name: ruleset(namespace) for namespace in (net.egress, net.gateway)}
    path, digest = put_file(net, 64 << 20)
    transfer = start_transfer(net, "up", path)
    wait_until(lambda: size_of(transfer) > 1 << 20, what="bytes to arrive")
    role = "protect" if "protect" in way else "egress" if "egress" in way else ""
    for namespace, daemon, roles in ((net.egress, net.daemon, "egress"),
                                     (net.gateway, net.protect, "protect")):
        if role in ("", roles):
            spoil(namespace, daemon, way)
            assert ruleset(namespace) == before[namespace.name]
    if role == "protect":
        finish_transfer(transfer, digest)
    # What passed untranslated meanwhile may have ended the transfer; new connections are as before.
    for process in transfer[:2]:
        process.kill()
        process.wait()
    assert get(net.laptop, net.SERVER[0]) == "a hidden page"
    assert get(net.nat, net.SERVER[0]) == ""


HOLDER = """
import socket, sys
s = socket.create_connection((sys.argv[1], 80), timeout=10)
print("connected", flush=True)
sys.stdin.readline()
s.settimeout(3)
try:
    s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
    print("answer" if s.recv(100) else "end", flush=True)
except OSError as error:
    print(type(error).__name__, flush=True)
"""


def test_what_was_opened_without_rules_ends_with_them(lab):
    """The daemon is held, so that the time without rules is long enough to connect in it."""
    net = Net(lab, masquerade=False)
    assert get(net.nat, net.SERVER[0]) == ""
    net.protect.process.send_signal(signal.SIGSTOP)
    net.gateway.run("nft delete table inet knockgw")
    holder = net.nat.start([PYTHON, "-c", HOLDER, net.SERVER[0]], stdin=subprocess.PIPE,
                           stdout=subprocess.PIPE, text=True)
    # This is what the table is for.
    assert holder.stdout.readline() == "connected\n"
    net.protect.process.send_signal(signal.SIGCONT)
    net.protect.wait_event(event="ruleset-restored")
    holder.stdin.write("\n")
    holder.stdin.flush()
    assert holder.stdout.readline() in ("TimeoutError\n", "ConnectionResetError\n", "end\n")
    assert get(net.nat, net.SERVER[0]) == ""
    assert get(net.laptop, net.SERVER[0]) == "a hidden page"


def test_a_daemon_that_reinstalls_is_not_answered_by_itself(lab):
    """What the daemon does to its own table, and what others do to theirs, is no alarm."""
    net = Net(lab, masquerade=False)
    net.gateway.nft("table inet other { chain c { type filter hook input priority 0; }; }")
    net.gateway.run("nft delete table inet other")
    spoil(net.gateway, net.protect, "delete table inet knockgw")
    assert get(net.laptop, net.SERVER[0]) == "a hidden page"
    assert len(net.protect.events(event="ruleset-changed")) == 1
    # Taken away again while the daemon rests from the first time: it comes back all the same.
    spoil(net.gateway, net.protect, "delete table inet knockgw")
    assert len(net.protect.events(event="ruleset-changed")) == 2
