# SPDX-License-Identifier: GPL-2.0-or-later
"""Keys, limits and replay protection over a reload. The network is drawn in topology.py
(Crossroads)."""
import datetime
import os
import signal

import pytest

import knock_client
from lab import KNOCKCTL, PYTHON, SOURCE, wait_until
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


@pytest.mark.parametrize("later", [BOB, '{ name = "alice"; secret = "another secret"; }',
                                   ALICE.replace("}", 'not_after = "2020-01-01T00:00:00Z"; }'),
                                   ALICE.replace("}", 'source = [ "10.2.0.0/24" ]; }')],
                         ids=["revoked", "new secret", "expired", "other sources"])
def test_known_tuple_does_not_outlive_its_key(net, later):
    """A SYN that was let in before is one of its key, whenever it comes again."""
    daemon = Reloading(net.lab, net.gateway, config(ALICE)).start()
    isn = knock_client.token(KNOCKCTL, "secret of alice", "10.2.0.1", 80)
    script = 'c.send("S")\nanswer = c.receive()\nprint(answer.flags if answer else "silence")\n'

    def send():
        # Nobody waits for the answer, so the client's kernel resets the connection.
        return net.other.run([PYTHON, SOURCE / "tests/system/raw_client.py", "10.2.0.1", "10.4.0.2",
                              80, 40000, f"{isn:08x}"], input=script).stdout.strip()

    assert send() == "SA"
    assert send() == "SA"
    assert daemon.wait_event(event="verified", reason="syn-repeated", key="alice")
    assert daemon.reload(config(later)) is None
    assert send() == "RA", daemon.log()
    assert send() == "RA", daemon.log()


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


ONE = ("import sys, socket, struct, knock_client as k\n"
       "address, isn, port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])\n"
       "try:\n"
       "    s = k.connect(address, 80, isn, 3, port)\n"
       "    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))\n"
       "    s.close()\n"
       "    print('open')\n"
       "except OSError as error: print(type(error).__name__)\n")


@pytest.mark.parametrize("address", ["10.2.0.1", "fd02::1"])
def test_known_tuple_opens_no_more_than_its_key(net, address):
    """The holder of a key that was revoked, or has expired, tries a port and ISN again with which he
    got in shortly before. What connection tracking knew of it is gone."""
    def one(secret, port):
        isn = knock_client.token(KNOCKCTL, secret, address, 80)
        net.gateway.run("conntrack -D -p tcp", check=False)
        return net.client.run([PYTHON, "-c", ONE, address, isn, port],
                              env={**os.environ, "PYTHONPATH": str(SOURCE / "tests/system")}
                              ).stdout.strip()

    daemon = Reloading(net.lab, net.gateway, config(f"{ALICE}, {BOB}")).start()
    assert one("secret of alice", 40000) == one("secret of alice", 40000) == "open"
    # The second time it is the same SYN, which names its key.
    assert daemon.wait_event(event="verified", reason="syn-repeated", key="alice")
    assert daemon.reload(config(BOB)) is None
    for port in (40000, 40001):
        assert one("secret of alice", port) == "ConnectionRefusedError"
    end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=5)
    short = ALICE.replace("}", f'not_after = "{end:%Y-%m-%dT%H:%M:%SZ}"; }}')
    assert daemon.reload(config(f"{short}, {BOB}")) is None
    assert one("secret of alice", 40002) == "open"
    wait_until(lambda: datetime.datetime.now(datetime.timezone.utc) >
               end + datetime.timedelta(seconds=1), what="the key to expire")
    for port in (40002, 40003):
        assert one("secret of alice", port) == "ConnectionRefusedError"
    assert len(daemon.events(event="refused", reason="key-expired", key="alice")) == 2


def test_hold_of_one_prefix_length_is_none_of_another(net):
    """10.4.0.0/24 is held; a reload makes prefixes of it and its neighbours one: 10.4.0.0/16."""
    limits = "limits = {{ max_failures = 5; back_off = 600; {} }};"
    daemon = Reloading(net.lab, net.gateway, config(ALICE, limits.format(""))).start()
    net.attempts(net.other, "10.2.0.1", 12345, count=20)
    assert daemon.wait_event(event="source-held", prefix="10.4.0.0/24")
    isn = knock_client.token(KNOCKCTL, "secret of alice", "10.2.0.1", 80)
    assert net.attempts(net.other, "10.2.0.1", isn, "10.4.0.3") == REFUSED
    assert net.attempts(net.other, "10.2.0.1", isn, "10.4.1.2") == ["open"]
    assert daemon.reload(config(ALICE, limits.format("ipv4_prefix = 16;"))) is None
    assert net.attempts(net.other, "10.2.0.1", isn, "10.4.1.2") == ["open"]
