# SPDX-License-Identifier: GPL-2.0-or-later
"""Health checks of backends, check by check. The network and the backends are those of
test_balance.py."""
import itertools
import re
import subprocess
import time

import pytest

from faults import PROGRAM, Faults
from lab import wait_until
from reload import Reloading, Session, fetch
from test_balance import (CLIENTS, FAMILIES, FRONT, backends, config, net, revive, spread, start,
                          stop, wait_for_backends)
from test_protect import scan

assert net  # the fixture

# So many checks in a row, again and again, fail: SYNs to port 8001 are counted for each family.
PATTERN = """table inet pattern { chain in { type filter hook input priority 0;
  meta nfproto ipv4 tcp dport 8001 tcp flags & (syn | ack) == syn numgen inc mod {of} {which} \
reject with tcp reset;
  meta nfproto ipv6 tcp dport 8001 tcp flags & (syn | ack) == syn numgen inc mod {of} {which} \
reject with tcp reset; }; }"""


def pattern(net, of, which):
    net.server.run("nft delete table inet pattern", check=False)
    net.server.nft(PATTERN.replace("{of}", str(of)).replace("{which}", which))


def rows_of(daemon):
    return [row for row in daemon.ask("backends") if row["backend"].endswith(":8001")]


def wait_for_checks(daemon, count):
    before = {row["backend"]: row["checks"] for row in rows_of(daemon)}
    wait_until(lambda: all(row["checks"] >= before[row["backend"]] + count
                           for row in rows_of(daemon)), timeout=60, what=f"{count} checks")


def test_exactly_so_many_failures_and_successes(net):
    health = "health = { interval = 0.6; timeout = 0.1; fall = 3; rise = 3; };"
    daemon = start(net, backends(1, 2) + health)
    # Two failures, one success: however often, it stays. As many failures as successes do not add up.
    pattern(net, 3, "< 2")
    wait_for_checks(daemon, 12)
    assert all(row["state"] == "up" and row["check_failures"] >= 6 for row in rows_of(daemon))
    assert not daemon.events(event="backend-down")
    # A success, three failures: down with the third, since a fourth in a row never comes.
    pattern(net, 4, "> 0")
    wait_for_backends(net, 2, "backend-down")
    # A failure, two successes.
    pattern(net, 3, "== 0")
    wait_for_checks(daemon, 12)
    assert all(row["state"] == "down" for row in rows_of(daemon))
    assert not daemon.events(event="backend-up")
    # A failure, three successes.
    pattern(net, 4, "== 0")
    wait_for_backends(net, 2, "backend-up")
    wait_for_checks(daemon, 8)
    assert len(daemon.events(event="backend-down")) == 2


def times_of_checks(net, capture):
    """When each backend was checked, by its port and family."""
    capture.terminate()
    capture.wait()
    listing = subprocess.run(["tcpdump", "-r", capture.capture_path, "-tt", "-n"], check=True,
                             capture_output=True, text=True).stdout
    times = {}
    for when, family, port in re.findall(r"^([\d.]+) (IP6?) \S+ > \S+\.(800\d): Flags \[S\]", listing,
                                         re.M):
        times.setdefault((family, port), []).append(float(when))
    return times


@pytest.mark.parametrize("jitter", [0, 50])
def test_jitter(net, jitter):
    """interval - fall * timeout - the time that confirming takes, 50 ms for each but the first
    failure: that is the longest pause. Jitter makes it shorter, by so many percent at most."""
    longest, early = 0.35, 0.005
    text = f"health = {{ interval = 1; timeout = 0.3; fall = 2; rise = 1; jitter = {jitter}; }};"
    daemon = start(net, backends(1, 2, 3, 4) + text)
    capture = net.lab.capture(net.server, "up0", "tcp[13] == 2 or (ip6 and ip6[53] == 2)")
    wait_for_checks(daemon, 24)
    times = times_of_checks(net, capture)
    assert len(times) == 8
    gaps = [later - sooner for row in times.values() for sooner, later in itertools.pairwise(row)]
    assert len(gaps) > 8 * 15
    # Timers are never early. A busy machine makes some late.
    assert min(gaps) >= longest * (1 - jitter / 100) - early
    assert sorted(gaps)[len(gaps) // 2] < longest + 0.1
    if jitter == 0:
        return
    # Uniform from half of it on: of 120 gaps or more some are short, and checks of two backends
    # do not stay together.
    assert sum(gap < 0.75 * longest + early for gap in gaps) > len(gaps) / 10
    for left, right in itertools.combinations(times.values(), 2):
        apart = [a - b for a, b in zip(left, right)]
        assert max(apart) - min(apart) > 0.05


@pytest.mark.parametrize("way", ["drop", "reject with tcp reset"], ids=["silent", "refusing"])
def test_dead_backend_is_out_within_the_interval(net, way):
    """From its last answer on: interval when it is silent, timeouts less when it refuses; then one
    transaction changes the map."""
    daemon = start(net, backends(1, 2) + "health = { interval = 4; timeout = 1; fall = 2; };")
    wait_for_checks(daemon, 1)
    bound = 4 if way == "drop" else 2

    def leads_there():
        return "8001" in net.gateway.run("nft list chain inet knockgw to_www_80").stdout

    assert leads_there()
    net.server.nft(f"table inet dead {{ chain in {{ type filter hook input priority 0; tcp dport 8001 "
                   f"{way}; }}; }}")
    died = time.monotonic()
    wait_until(lambda: not leads_there(), what="the map to change")
    # A second for a busy machine.
    assert time.monotonic() - died < bound + 1
    assert set(spread(net, 0, 40).values()) == {"b2"}


def test_reloads_do_not_put_checks_off(net):
    """Whoever reloads more often than a check takes does not keep a dead backend in."""
    text = config(backends(1, 2) + "health = { interval = 1; timeout = 0.3; fall = 2; };")
    daemon = start(net, backends(1, 2) + "health = { interval = 1; timeout = 0.3; fall = 2; };")
    wait_for_checks(daemon, 2)
    net.server.nft("table inet dead { chain in { type filter hook input priority 0; tcp dport 8001 drop; }; }")
    died = time.monotonic()
    while len(daemon.events(event="backend-down")) < 2:
        assert daemon.reload(text) is None
        assert time.monotonic() - died < 10, "the dead backend stays"
    assert time.monotonic() - died < 1 + 2
    assert set(spread(net, 0, 40).values()) == {"b2"}


def test_many_backends_that_fail_together_cost_few_transactions(net):
    """A rack goes: 99 of 100 backends of each family fall silent. The daemon answers all the time."""
    dead = ", ".join(f'{{ address = "{address}"; port = {port}; }}' for port in range(9000, 9099)
                     for address in net.SERVER)
    text = backends(1)[:-2] + f", {dead}" + ");"
    net.server.nft("table inet rack { chain in { type filter hook input priority 0; "
                   "tcp dport 9000-9098 drop; }; }")
    daemon = start(net, text + "health = { interval = 2; timeout = 0.5; fall = 2; };")
    began, longest = time.monotonic(), 0
    while sum(row["state"] == "down" for row in daemon.ask("backends")) < 198:
        assert time.monotonic() - began < 30
        asked = time.monotonic()
        daemon.ask("status")
        longest = max(longest, time.monotonic() - asked)
    print(f"all out after {time.monotonic() - began:.1f} s, longest answer {longest:.1f} s")
    assert longest < 5
    assert set(spread(net, 0, 20).values()) == set(spread(net, 1, 20).values()) == {"b1"}


@pytest.mark.parametrize("refused", [2, 8])
def test_change_that_the_kernel_refuses_is_tried_again(net, refused):
    """Each attempt is two transactions: what differs, then the whole table. Lost: nothing but time."""
    text = config(backends(1, 2) + "health = { interval = 1; timeout = 0.3; fall = 2; rise = 1; };")
    daemon = net.daemon = Reloading(net.lab, net.gateway, text, PROGRAM)
    faults = Faults(net.lab)
    daemon.environment.update(faults.environment)
    daemon.start()
    session = {page: None for page in ("b1", "b2")}
    for client in CLIENTS[0]:
        opened = Session(net.client, FRONT[0], 80, "s", source=client)
        session[opened.fetch()] = opened
        if all(session.values()):
            break
    faults.transactions = refused
    stop(net, 1)
    daemon.wait_event(event="backends-not-changed", action="try again")
    recovered, = daemon.wait_event(event="backends-changed")
    assert faults.transactions == 0
    failed = daemon.events(event="backends-not-changed")
    assert int(recovered["failed_attempts"]) == len(failed) == refused // 2
    # Twice as long each time.
    assert [int(event["after_ms"]) for event in failed] == [100 * 2**i for i in range(len(failed))]
    assert all(event["reason"].startswith("nftables: ") for event in failed)
    assert set(spread(net, 0, 40).values()) == set(spread(net, 1, 40).values()) == {"b2"}
    assert session["b2"].fetch() == "b2"
    # It is done: no more attempts.
    revive(net, 1)
    wait_for_backends(net, 2, "backend-up")
    wait_until(lambda: set(spread(net, 0, 40).values()) == {"b1", "b2"}, what="the backend to be back")
    assert len(daemon.events(event="backends-not-changed")) == len(failed)


def test_newer_change_replaces_one_that_was_refused(net):
    """While the daemon waits for its next attempt a reload succeeds: nothing is left to try."""
    text = config(backends(1, 2) + "health = { interval = 1; timeout = 0.3; fall = 2; rise = 1; };")
    daemon = net.daemon = Reloading(net.lab, net.gateway, text, PROGRAM)
    faults = Faults(net.lab)
    daemon.environment.update(faults.environment)
    daemon.start()
    faults.transactions = 1000
    stop(net, 1)
    wait_until(lambda: len(daemon.events(event="backends-not-changed")) >= 5, what="attempts")
    faults.transactions = 0
    assert daemon.reload(text) is None
    daemon.wait_event(event="backends-changed")
    assert set(spread(net, 0, 40).values()) == {"b2"}
    assert fetch(net.client, FRONT[1], 80, "s") == "b2"


@FAMILIES
def test_all_dead_looks_closed(net, family):
    """To scans of two kinds and to a client with the secret; the port next to it is closed, too."""
    daemon = start(net, backends(1, 2) + "health = { interval = 1; timeout = 0.3; fall = 2; };")
    session = Session(net.client, FRONT[family], 80, "s")
    page = session.fetch()
    # Their checks fail, while what is established goes on.
    net.server.nft("table inet dead { chain in { type filter hook input priority 0;"
                   " tcp dport { 8001, 8002 } tcp flags & (syn | ack) == syn reject with tcp reset; }; }")
    wait_for_backends(net, 4, "backend-down")
    daemon.wait_event(event="service-down", family=("IPv4", "IPv6")[family])
    wait_until(lambda: fetch(net.client, FRONT[family], 80, "s") == "ConnectionRefusedError",
               what="the port to close")
    for kind in ("-sS", "-sT"):
        closed, unused = scan(net, kind, FRONT[family], [80, 4711])
        assert closed == unused
    assert session.fetch() == page
