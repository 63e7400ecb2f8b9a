# SPDX-License-Identifier: GPL-2.0-or-later
"""SIGHUP: a new configuration without losing a connection. The network is drawn in topology.py
(Direct)."""
import itertools
import signal

import pytest

from lab import SLOWNESS, wait_until
from reload import Reloading, Session, all_answered, fetch, isn_of, load, own_resets
from topology import Direct

GATEWAY, FRONT, SERVER = Direct.GATEWAY, Direct.FRONT, Direct.SERVER


def service(name, address, port=80, secret=None, more=""):
    return (f'{{ name = "{name}"; address = [ "{address[0]}", "{address[1]}" ]; port = {port};\n'
            f'  secret = "{secret or name}"; {more} }}')


def backend(port=80):
    return f'backends = ( {{ address = "10.3.0.2"; port = {port}; }}, ' \
           f'{{ address = "fd03::2"; port = {port}; }} );'


def config(*services, more=""):
    return f"services = ( {', '.join(services)} );\nqueues = {{ first = 40; count = 2; }};\n{more}"


LOCAL = service("local", GATEWAY)
FORWARDED = service("front", FRONT, port=8080, more=backend())


@pytest.fixture
def net(lab):
    net = Direct(lab)
    net.lab = lab
    lab.nginx(net.gateway, 80, "gateway")
    lab.nginx(net.server, 80, "server")
    lab.nginx(net.server, 81, "other")
    return net


def start(net, text):
    net.daemon = Reloading(net.lab, net.gateway, text).start()
    return net.daemon


def get(net, address, port, secret):
    return fetch(net.client, address, port, secret)


def table(net):
    return net.gateway.run("nft -s list table inet knockgw").stdout


def test_invalid_configuration_keeps_the_old_one(net):
    daemon = start(net, config(LOCAL))
    before = table(net)
    said = daemon.reload(config(service("local", GATEWAY, port=70000), 'nonsense'))
    assert "reload failed" in said and f"{daemon.config}:2: error: syntax" in said
    said = daemon.reload(config(service("local", GATEWAY, port=70000),
                                service("other", FRONT, port=80, more="wait = 1;")))
    errors = [event["text"] for event in daemon.events(event="configuration-error")]
    assert any("port" in error and "70000" in error for error in errors)
    assert any("unknown" in error and "wait" in error for error in errors)
    assert daemon.events(event="reload-failed", action="none")
    assert table(net) == before
    assert get(net, GATEWAY[0], 80, "local") == "gateway"
    # And a missing file is no reason to stop, either.
    daemon.config.unlink()
    assert daemon.reload() is not None
    assert get(net, GATEWAY[1], 80, "local") == "gateway"


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_service_comes_and_goes(net, family):
    daemon = start(net, config(LOCAL))
    assert get(net, FRONT[family], 8080, "front") == "ConnectionRefusedError"
    assert daemon.reload(config(LOCAL, FORWARDED)) is None
    assert get(net, FRONT[family], 8080, "front") == "server"
    sessions = [Session(net.client, FRONT[family], 8080, "front"),
                Session(net.client, GATEWAY[family], 80, "local")]
    assert sessions[0].fetch() == "server" and sessions[1].fetch() == "gateway"
    # Both ports close for new connections, with and without the secret; also that of a server on
    # the gateway itself, which would otherwise lie open.
    other = service("other", FRONT, port=81, more=backend(81))
    assert daemon.reload(config(other)) is None
    for address, port, secret in ((FRONT[family], 8080, "front"), (GATEWAY[family], 80, "local")):
        assert get(net, address, port, secret) == "ConnectionRefusedError"
        assert get(net, address, port, "guessed") == "ConnectionRefusedError"
    assert get(net, FRONT[family], 81, "other") == "other"
    assert sessions[0].fetch() == "server" and sessions[1].fetch() == "gateway"
    # What was there before can come back.
    assert daemon.reload(config(LOCAL, FORWARDED)) is None
    assert get(net, GATEWAY[family], 80, "local") == "gateway"
    assert get(net, FRONT[family], 8080, "front") == "server"
    assert sessions[0].fetch() == "server" and sessions[1].fetch() == "gateway"


def test_address_and_backend_change(net):
    daemon = start(net, config(service("www", GATEWAY, port=8080, more=backend())))
    session = Session(net.client, GATEWAY[0], 8080, "www")
    assert daemon.reload(config(service("www", FRONT, port=8080, more=backend(81)))) is None
    assert get(net, FRONT[0], 8080, "www") == "other"
    assert get(net, FRONT[1], 8080, "www") == "other"
    assert get(net, GATEWAY[0], 8080, "www") == "ConnectionRefusedError"
    assert session.fetch() == "server"


def test_revoked_secret(net):
    daemon = start(net, config(LOCAL))
    session = Session(net.client, GATEWAY[0], 80, "local")
    assert daemon.reload(config(service("local", GATEWAY, secret="changed"))) is None
    assert get(net, GATEWAY[0], 80, "local") == "ConnectionRefusedError"
    assert get(net, GATEWAY[0], 80, "changed") == "gateway"
    assert session.fetch() == "gateway"


def test_what_needs_a_restart_is_named_and_ignored(net):
    text = config(LOCAL, more='log = { level = "debug"; };')
    daemon = start(net, text)
    assert daemon.reload(text.replace("count = 2", "count = 3").replace("debug", "warning") +
                         'max_held = 7; mark = 0xc000; max_flows = 1000; manage_ruleset = false;\n'
                         f'state_directory = "{net.lab.folder}/other";\n') is None
    keys = {event["key"] for event in daemon.events(event="needs-restart")}
    assert keys == {"queues", "mark", "max_flows", "max_held", "manage_ruleset", "state_directory"}
    # The rest was applied: the level of the log.
    verified = len(daemon.events(event="verified"))
    assert get(net, GATEWAY[0], 80, "local") == "gateway"
    assert len(daemon.events(event="verified")) == verified
    assert daemon.reload(text) is None
    assert get(net, GATEWAY[0], 80, "local") == "gateway"
    assert len(daemon.events(event="verified")) == verified + 1


def test_table_that_somebody_removes_during_a_reload_comes_back(net):
    daemon = start(net, config(LOCAL))
    # The daemon finds both the missing table and the signal to reload when it goes on.
    daemon.process.send_signal(signal.SIGSTOP)
    net.gateway.run("nft flush ruleset")
    daemon.config.write_text(config(LOCAL, FORWARDED) + daemon.user)
    daemon.process.send_signal(signal.SIGHUP)
    daemon.process.send_signal(signal.SIGCONT)
    wait_until(lambda: get(net, FRONT[0], 8080, "front") == "server", what="the new service")
    assert get(net, GATEWAY[0], 80, "local") == "gateway"
    assert get(net, GATEWAY[0], 80, "guessed") == "ConnectionRefusedError"


def test_every_change_ends_like_a_fresh_start(net):
    """However the table came about, it is the one that a start would have installed."""
    egress = 'egress = ( {{ name = "e"; destination = "{}"; port = 22; secret = "x"; {} }} );\n'
    texts = [
        config(LOCAL), config(LOCAL, FORWARDED),
        config(service("local", GATEWAY, more="decoy_port = 7;"),
               service("front", FRONT, port=8080, more='reject = "drop"; ' + backend())),
        config(service("renamed", GATEWAY, more='reject = "reset";'), FORWARDED,
               more=egress.format("192.0.2.1", "")),
        config(LOCAL, FORWARDED, more=egress.format("192.0.2.0/24", 'on_failure = "pass";')),
        config(LOCAL, FORWARDED, more=egress.format("192.0.2.0/25", "")),
        config(LOCAL, FORWARDED, more=egress.format("192.0.2.0/24", "")),
    ]
    texts = [f'{text}\nstate_directory = "{net.lab.folder}/state";\n' for text in texts]
    daemon = start(net, texts[0])
    tables = {}
    for text in texts:
        assert daemon.reload(text) is None
    for text in texts[3:] + texts[:1:-1]:
        assert daemon.reload(text) is None
        assert not daemon.events(event="ruleset-lost") and not daemon.events(event="ruleset-changed")
        tables.setdefault(text, []).append(objects(table(net)))
    assert get(net, GATEWAY[0], 80, "renamed") == "ConnectionRefusedError"
    # A last reload that changes nothing, then the same from nothing at all.
    for text in texts[4:]:
        assert daemon.reload(text) is None
        reloaded = objects(table(net))
        net.gateway.run("nft delete table inet knockgw")
        assert daemon.reload() is None
        assert objects(table(net)) == reloaded


def objects(text):
    """A listed table as a set of objects, without order among them or among elements. Base chains
    without rules do nothing."""
    found = set()
    body = text.removeprefix("table inet knockgw {").strip().removesuffix("}")
    for piece in body.split("\n\n"):
        words = piece.replace(",", " ").split()
        empty = words[2:4] == ["{", "type"] and len(piece.strip().splitlines()) == 3
        if words[0] != "chain" or not empty:
            found.add(" ".join(words if words[0] == "chain" else sorted(words)))
    return found


def test_a_thousand_reloads_lose_no_connection(net):
    """Services change around one that stays. All the time new connections are opened to that
    one, with its secret, which must all succeed, and without, which must all be refused."""
    variants = [
        config(FORWARDED),
        config(FORWARDED, LOCAL),
        config(service("front", FRONT, port=8080, more=backend() + " decoy_port = 7;"), LOCAL),
        config(service("more", GATEWAY, port=81, more='integrity = 20; reject = "drop";'),
               FORWARDED),
    ]
    daemon = start(net, variants[0])
    session = Session(net.client, FRONT[0], 8080, "front")
    # An address of their own: they use up all ports within seconds, and an authorised SYN on a tuple
    # that was just refused may have to be sent again.
    net.client.address("up0", "10.2.0.3/24")
    with own_resets(net.server) as resets:
        with load(net.client, FRONT[0], 8080, isn_of("front", FRONT[0], 8080), 1) as four, \
                load(net.client, FRONT[1], 8080, isn_of("front", FRONT[1], 8080), 1) as six, \
                load(net.client, FRONT[0], 8080, "wrong", 1, "10.2.0.3") as refused:
            # An emulated machine would take hours for all.
            for _, text in zip(range(int(1000 / SLOWNESS)), itertools.cycle(variants)):
                assert daemon.reload(text) is None
        by_server = resets()
    for family in (four, six):
        assert all_answered(family, {"server"}, by_server), family
        assert family["answers"]["server"] > 100
    assert set(refused["answers"]) == {"ConnectionRefusedError"}
    # No SYN had to be sent again. If one had: was it lost before or behind the daemon?
    slow = four["slow_ones"] + six["slow_ones"]
    assert not slow, (slow, net.gateway.run("nft list ruleset").stdout, daemon.log()[-20000:])
    assert not daemon.events(event="ruleset-lost") and not daemon.events(event="ruleset-changed")
