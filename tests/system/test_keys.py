# SPDX-License-Identifier: GPL-2.0-or-later
"""Keys with names, validity and sources. The network is drawn in topology.py (Crossroads)."""
import datetime
import signal
import time

import pytest

import knock_client
from lab import KNOCKCTL, KNOCKGW, Daemon, wait_until
from topology import Crossroads

GATEWAY = Crossroads.GATEWAY


def rfc3339(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime(
        "%Y-%m-%dT%H:%M:%SZ")


def config(keys, more=""):
    return f"""services = ( {{ name = "web"; address = [ "10.2.0.1", "fd02::1" ]; port = 80;
      secret = ( {keys} ); {more} }} );
      queues = {{ first = 40; count = 2; }};"""


KEYS = """
  "current secret",
  { name = "alice"; secret = "secret of alice"; not_after = "2099-12-31"; },
  { name = "gone"; secret = "secret of the gone"; not_after = "2020-12-31"; },
  { name = "to-come"; secret = "secret to come"; not_before = "2099-01-01T00:00:00+01:00"; },
  { name = "client"; secret = "secret of the client"; source = [ "10.2.0.0/24", "fd02::/64" ]; },
  { name = "site"; secret = "secret of the site"; source = [ "10.4.1.0/24", "fd04:0:0:100::/56" ]; },
  { name = "idle"; secret = "secret of nobody"; }
"""


@pytest.fixture
def net(lab):
    return Crossroads(lab)


def attempt(net, namespace, address, secret, source=""):
    """ "open", or the error of connect(). """
    isn = knock_client.token(KNOCKCTL, secret, address, 80)
    return net.attempts(namespace, address, isn, source)[0]


REFUSED = "ConnectionRefusedError"


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_each_key_opens_when_and_where_it_may(net, family):
    daemon = Daemon(net.lab, net.gateway, config(KEYS)).start()
    here = GATEWAY[family]
    assert attempt(net, net.client, here, "current secret") == "open"
    assert attempt(net, net.client, here, "secret of alice") == "open"
    assert attempt(net, net.client, here, "secret of the client") == "open"
    assert attempt(net, net.other, here, "secret of the site", Crossroads.OTHER_PREFIX[family]) == "open"
    for secret, reason, key in (("secret of the gone", "key-expired", "gone"),
                                ("secret to come", "key-early", "to-come"),
                                ("secret of the site", "key-source", "site")):
        assert attempt(net, net.client, here, secret) == REFUSED
        assert daemon.wait_event(event="refused", reason=reason, key=key)
    assert attempt(net, net.other, here, "secret of the client") == REFUSED
    assert attempt(net, net.other, here, "secret of the site", Crossroads.OTHER[family]) == REFUSED
    assert attempt(net, net.client, here, "guessed") == REFUSED
    # The log names the key that opened the door.
    for key in ("1", "alice", "client", "site"):
        assert daemon.events(event="verified", service="web", key=key)
    before = int(time.time()) - 120
    daemon.process.send_signal(signal.SIGUSR1)
    daemon.wait_event(event="key-statistics", key="to-come")
    used = {event["key"]: event for event in daemon.events(event="key-statistics")}
    assert set(used) == {"1", "alice", "gone", "to-come", "client", "site", "idle"}
    for key, event in used.items():
        if key in ("1", "alice", "client", "site"):
            assert event["opened"] == "1" and event["last_used"] >= rfc3339(before)
        else:
            assert event["opened"] == "0" and event["last_used"] == "never"


def test_key_expires_while_the_daemon_runs(net):
    end = int(time.time()) + 5
    key = f'"other", {{ name = "short"; secret = "short secret"; not_after = "{rfc3339(end)}"; }}'
    daemon = Daemon(net.lab, net.gateway, config(key)).start()
    assert "expires in less than a day" in daemon.log()
    assert attempt(net, net.client, GATEWAY[0], "short secret") == "open"
    wait_until(lambda: attempt(net, net.client, GATEWAY[0], "short secret") == REFUSED,
               what="the key to expire")
    assert time.time() > end
    assert daemon.events(event="refused", reason="key-expired", key="short")
    assert attempt(net, net.client, GATEWAY[0], "other") == "open"


def test_key_becomes_valid_while_the_daemon_runs(net):
    begin = int(time.time()) + 5
    key = f'{{ name = "new"; secret = "new secret"; not_before = "{rfc3339(begin)}"; }}'
    daemon = Daemon(net.lab, net.gateway, config(key)).start()
    assert "no key is valid now" in daemon.log()
    assert attempt(net, net.client, GATEWAY[1], "new secret") == REFUSED
    wait_until(lambda: attempt(net, net.client, GATEWAY[1], "new secret") == "open",
               what="the key to become valid")
    assert time.time() >= begin


def test_a_key_that_must_not_be_used_looks_like_a_wrong_one(net):
    """What the wire shows of an expired key, and of one from elsewhere, is what a guess shows."""
    Daemon(net.lab, net.gateway, config(KEYS)).start()
    capture = net.lab.capture(net.client, "up0", "tcp")
    for secret in ("secret of the gone", "secret of the site", "guessed"):
        assert attempt(net, net.client, GATEWAY[0], secret) == REFUSED

    def answers():
        from scapy.all import IP, TCP, rdpcap
        packets = [packet for packet in rdpcap(str(capture.capture_path))
                   if TCP in packet and packet[IP].src == GATEWAY[0]]
        return [(packet[IP].ttl, packet[IP].tos, str(packet[IP].flags), str(packet[TCP].flags),
                 packet[TCP].window, packet[TCP].seq, packet[TCP].options) for packet in packets]

    found = wait_until(lambda: len(answers()) == 3 and answers(), what="three answers")
    assert found[0] == found[1] == found[2]


def test_check_prints_the_odds(net):
    path = net.lab.file("odds.conf", config(KEYS) + "limits = { max_failures = 10; back_off = 60; };")
    result = net.gateway.run([KNOCKGW, "--config", path, "--check"])
    assert result.stdout == (
        "web: a blind guess hits 1 time in 613566757 (auth mode, 7 keys), on average after "
        "1.9 years from one prefix at max_failures = 10 a second; 7.1 days without an alarm "
        "(max_service_failures = 1000 a second); 34 minutes at 300000 a second\n")
    path = net.lab.file("odds.conf", config('"one"', "integrity = 28;"))
    assert "1 time in 65536 (the SYN in integrity mode, 1 key)" in \
        net.gateway.run([KNOCKGW, "--config", path, "--check"]).stdout
