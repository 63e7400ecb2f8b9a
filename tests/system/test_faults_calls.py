# SPDX-License-Identifier: GPL-2.0-or-later
"""
laptop ---- egress (knockgw) ---- nat ---- gateway (knockgw) ---- server

Calls that fail as they hardly ever do, under a connection through both gateways that sends and checks
bytes all the time. Each test says what is lost.
"""
import datetime
import re
import signal
import subprocess

import pytest

from egress_net import PROTECT, SECRET, Net, echo_server, egress_config, get
from faults import PROGRAM, Faults
from lab import Daemon, wait_until
from reload import Reloading
from test_faults_daemon import Pump, works

SERVER = Net.SERVER[0]
DAY = 24 * 3600


class FaultyNet(Net):
    """Both gateways with a daemon in whose calls faults can be put."""

    def __init__(self, lab, protect=PROTECT):
        super().__init__(lab, masquerade=False)
        self.echo = echo_server(self.server)
        self.daemon.stop()
        self.protect.stop()
        self.daemon = Reloading(lab, self.egress, egress_config(lab), PROGRAM)
        self.protect = Reloading(lab, self.gateway, protect, PROGRAM)
        for daemon in (self.daemon, self.protect):
            daemon.faults = Faults(lab)
            daemon.environment.update(daemon.faults.environment)
            daemon.start()


def try_while_it_fails(net, what, kinds):
    """Traffic, until calls of both daemons have failed in so many ways, one after the other, and they have
    counted what."""
    pump = Pump(net)

    def counted():
        works(net)
        pump.moves()
        said = [daemon.knockctl("status", "--json").stdout for daemon in (net.daemon, net.protect)]
        return all(re.search(rf'"{what}": ?[1-9]', text) for text in said) and \
            min(net.daemon.faults.done, net.protect.faults.done) >= kinds

    wait_until(counted, timeout=90, what=f"{what} to be counted")
    pump.finish()
    print(f"calls failed: {net.daemon.faults.done} of egress, {net.protect.faults.done} of protect")


def test_receiving_fails_in_every_way(lab):
    """EINTR, ENOBUFS, a datagram cut short, one that says it was truncated. Lost: single packets, which
    TCP sends again."""
    net = FaultyNet(lab)
    # A bulk transfer goes through egress, protect sees SYNs only.
    net.daemon.faults.receive, net.protect.faults.receive = 64, 16
    try_while_it_fails(net, "malformed", kinds=5)
    net.daemon.faults.receive = net.protect.faults.receive = 0
    works(net)


def test_verdicts_interrupted_and_for_packets_that_are_gone(lab):
    """Lost: nothing."""
    net = FaultyNet(lab)
    net.daemon.faults.send = net.protect.faults.send = 1
    try_while_it_fails(net, "verdict_errors", kinds=2)
    net.daemon.faults.send = net.protect.faults.send = 0
    works(net)


def test_news_of_rules_are_lost(lab):
    """They may have been about our table: it is installed anew. Lost: packets that wait for a verdict,
    which TCP sends again."""
    net = FaultyNet(lab)
    pump = Pump(net)
    net.protect.faults.watch = 1
    net.gateway.nft("table inet other { chain c { type filter hook input priority 0; }; }")
    net.protect.wait_event(event="ruleset-restored")
    pump.finish()
    works(net)


def test_transaction_refused_at_start(lab):
    """Lost: that start. The ports stay closed, by the table that a daemon before it has left."""
    net = FaultyNet(lab)
    pump = Pump(net)
    net.protect.kill()
    net.protect.faults.transactions = 2  # a trial, and the table
    daemon = Daemon(lab, net.gateway, PROTECT, PROGRAM)
    daemon.environment.update(net.protect.faults.environment)
    daemon.start(wait=False)
    assert daemon.process.wait(timeout=20) == 1
    said = daemon.events(event="start-failed")
    assert len(said) == 1 and said[0]["reason"].startswith("nftables: "), daemon.log()
    assert get(net.nat, SERVER) == get(net.laptop, SERVER) == ""
    pump.moves()
    daemon.start()
    works(net)
    pump.finish()


@pytest.mark.parametrize("count", [1, 2], ids=["once", "also-the-whole-table"])
def test_transaction_refused_at_reload(lab, count):
    """Once: it is tried with the whole table, and nothing is lost. Twice: that reload is lost, the old
    configuration goes on."""
    net = FaultyNet(lab)
    pump = Pump(net)
    net.protect.faults.transactions = count
    result = net.protect.reload(PROTECT.replace(f'"{SECRET}"', '"another secret"')
                                .replace("[ 80, 7000 ]", "[ 80, 7000, 8000 ]"))
    assert net.protect.faults.transactions == 0
    pump.moves()
    if count == 1:
        assert result is None
        assert get(net.laptop, SERVER) == ""
    else:
        assert "nftables: " in result
        works(net)
    assert net.protect.reload(PROTECT) is None
    works(net)
    pump.finish()


def test_table_of_another_owner(lab):
    """Somebody takes the table for himself (flags owner), which the kernel protects from the daemon. Lost
    while that lasts: the rules, as the log says again and again."""
    net = FaultyNet(lab)
    works(net)
    owner = net.gateway.start(["nft", "-i"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                              text=True)
    # Until both commands are there.
    net.protect.process.send_signal(signal.SIGSTOP)
    owner.stdin.write("delete table inet knockgw\nadd table inet knockgw { flags owner; }\n")
    owner.stdin.flush()
    wait_until(lambda: "flags owner" in net.gateway.run("nft list ruleset").stdout, what="the owner")
    net.protect.process.send_signal(signal.SIGCONT)
    net.protect.wait_event(event="ruleset-not-restored")
    owner.stdin.close()
    owner.wait(timeout=20)
    net.protect.wait_event(event="ruleset-restored")
    works(net)


def test_clock_steps_by_a_day(lab):
    """The wall clock as the daemons see it; the machine's is left alone. Lost: nothing but what a key that
    is not valid by that clock would open."""
    now = datetime.datetime.now(datetime.timezone.utc)
    half = datetime.timedelta(hours=12)
    key = (f'( {{ name = "today"; secret = "{SECRET}"; not_before = "{now - half:%Y-%m-%dT%H:%M:%SZ}"; '
           f'not_after = "{now + half:%Y-%m-%dT%H:%M:%SZ}"; }} )')
    net = FaultyNet(lab, PROTECT.replace(f'"{SECRET}"', key) + 'log = { format = "json"; };\n')
    pump = Pump(net)
    for step, page, reason in ((DAY, "", "key-expired"), (0, "a hidden page", None),
                               (-DAY, "", "key-early"), (0, "a hidden page", None)):
        net.daemon.faults.clock = net.protect.faults.clock = step
        pump.moves()
        assert get(net.laptop, SERVER) == page
        assert get(net.nat, SERVER) == ""
        if reason is not None:
            day = f"{now + datetime.timedelta(seconds=step):%Y-%m-%d}"
            wait_until(lambda: any(reason in line and day in line
                                   for line in net.protect.log().splitlines()), what=reason)
    pump.finish()
