# SPDX-License-Identifier: GPL-2.0-or-later
"""Keys, limits and replay protection over a reload. The network is drawn in topology.py
(Crossroads)."""
import signal

import pytest

import knock_client
from lab import KNOCKCTL, PYTHON, SOURCE
from reload import Reloading
from topology import Crossroads

REFUSED = ["ConnectionRefusedError"]


def config(keys, more=""):
    return f"""services = ( {{ name = "web"; address = [ "10.2.0.1", "fd02::1" ]; port = 80;
      secret = ( {keys} ); }} );
      queues = {{ first = 40; count = 2; }}; {more}"""


ALICE = '{ name = "alice"; secret = "secret of alice"; }'
BOB = '{ name = "bob"; secret = "secret of bob"; }'


@pytest.fixture(name="net")
def fixture_net(lab):
    return Crossroads(lab)


def attempt(net, secret, namespace=None):
    isn = knock_client.token(KNOCKCTL, secret, "10.2.0.1", 80)
    return net.attempts(namespace or net.client, "10.2.0.1", isn)


def test_key_is_revoked_by_a_reload(net):
    daemon = Reloading(net.lab, net.gateway, config(f"{ALICE}, {BOB}")).start()
    assert attempt(net, "secret of alice") == attempt(net, "secret of bob") == ["open"]
    assert daemon.reload(config(BOB)) is None
    assert attempt(net, "secret of alice") == REFUSED
    assert daemon.events(event="refused", reason="token-wrong", service="web")
    assert attempt(net, "secret of bob") == ["open"]
    # What is known of a key goes on while it is there.
    daemon.process.send_signal(signal.SIGUSR1)
    used = daemon.wait_event(event="key-statistics", key="bob")
    assert used[-1]["opened"] == "2"
    assert not daemon.events(event="key-statistics", key="alice")
    assert daemon.reload(config(f"{ALICE}, {BOB}")) is None
    assert attempt(net, "secret of alice") == ["open"]


def test_replay_is_refused_after_a_reload(net):
    net.other.nft("""table inet raw { chain out { type filter hook output priority 0;
                     tcp flags & rst == rst drop; }; }""")
    daemon = Reloading(net.lab, net.gateway, config(ALICE)).start()
    isn = knock_client.token(KNOCKCTL, "secret of alice", "10.2.0.1", 80, tsval=0x1111)

    def send(source, port):
        script = (f'c.isn = {isn}\nc.send("S", options=[("Timestamp", ({0x1111}, 0))])\n'
                  'answer = c.receive()\nprint(answer.flags if answer else "silence")\n')
        return net.other.run([PYTHON, SOURCE / "tests/system/raw_client.py", "10.2.0.1", source,
                              80, port, "0"], input=script).stdout.strip()

    assert send("10.4.0.2", 40000) == "SA"
    assert daemon.reload(config(f"{ALICE}, {BOB}")) is None
    assert send("10.4.1.2", 40001) == "RA"
    assert daemon.wait_event(event="refused", reason="token-replayed", key="alice")


def test_hold_goes_on_after_a_reload(net):
    limits = "limits = { max_failures = 5; back_off = 600; };"
    daemon = Reloading(net.lab, net.gateway, config(ALICE, limits)).start()
    net.attempts(net.other, "10.2.0.1", 12345, count=20)
    assert daemon.wait_event(event="source-held", prefix="10.4.0.0/24")
    assert attempt(net, "secret of alice", net.other) == REFUSED
    assert daemon.reload(config(f"{ALICE}, {BOB}", limits)) is None
    assert attempt(net, "secret of alice", net.other) == REFUSED
    assert attempt(net, "secret of alice") == ["open"]
    # To let everybody in again, switch it off.
    assert daemon.reload(config(ALICE)) is None
    assert attempt(net, "secret of alice", net.other) == ["open"]
