# SPDX-License-Identifier: GPL-2.0-or-later
"""knockctl replay judges a capture as the daemon judged the packets.

The network is that of topology.Direct: client, gateway with knockgw, server."""
import json
import subprocess

import pytest

import knock_client
from integrity_net import N, PORT, RIGHT, SECRET, WRONG, IntegrityNet
from lab import KNOCKCTL, PYTHON, SOURCE, wait_until
from test_reassemble import CLIENT, CONFIG, pieces_of
from topology import Direct


def replay(*arguments):
    """As a user without any rights."""
    return subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", KNOCKCTL,
                           "replay", *map(str, arguments)], capture_output=True, text=True,
                          check=False, timeout=60)


def stop(capture):
    capture.terminate()
    capture.wait()
    capture.capture_path.chmod(0o644)
    return capture.capture_path


def in_pieces(net, payload):
    isn = knock_client.token(KNOCKCTL, SECRET, "10.3.0.2", PORT, RIGHT[:N])
    return net.client.run([PYTHON, "-c", CLIENT, "10.3.0.2", PORT, isn, False,
                           *(piece.hex() for piece in pieces_of(payload, 3, 4))]).stdout


@pytest.mark.parametrize("device", ["out0", "any"], ids=["Ethernet", "cooked"])
def test_replay_agrees_with_the_daemon(lab, device):
    auth = CONFIG.replace("services = (", f"""services = (
  {{ name = "auth"; address = "10.2.0.10"; port = 7003; secret = "{SECRET}";
    backends = ( {{ address = "10.3.0.2"; port = {PORT}; }} ); }},""")
    net = IntegrityNet(lab, auth)
    captures = [lab.capture(net.gateway, device, "inbound and tcp" if device == "any" else "tcp")]
    assert in_pieces(net, RIGHT) == "thanks\n", net.daemon.log()
    assert in_pieces(net, WRONG) == "ConnectionResetError\n"
    net.raw("c.isn ^= 1 << 20\nc.send('S')\nc.wait('R')")
    net.raw("c.connect()")
    isn = knock_client.token(KNOCKCTL, SECRET, Direct.FRONT[0], 7003)
    knock = f"import knock_client; knock_client.connect('{Direct.FRONT[0]}', 7003, {isn})"
    net.client.run([PYTHON, "-c", knock], env={"PYTHONPATH": "tests/system"}, cwd=str(SOURCE))
    wait_until(lambda: len(net.daemon.events(reason="pending-empty")) >= 3, what="the last ACK")
    config = lab.file("replay.conf", auth, 0o644)
    found = replay("--config", config, "--summary", stop(captures[0]))
    assert json.loads(found.stdout) == {"connections": 5, "opened": 2, "pending": 1,
                                        "refused_syn": 1, "refused_data": 1}, found
    lines = [json.loads(line) for line in
             replay("--config", config, captures[0].capture_path).stdout.splitlines()]
    for reason in ("payload-valid", "payload-wrong", "token-wrong"):
        assert len([line for line in lines if line["reason"] == reason]) == \
            len([event for event in net.daemon.events(reason=reason)
                 if event["event"] != "delivered"]), (reason, lines)
    assert {line["mode"] for line in lines} == {"auth", "integrity"}
    assert set(lines[0]) == {"time", "src", "sport", "dst", "dport", "kind", "service", "key",
                             "mode", "verdict", "reason"}


@pytest.mark.parametrize("content,words", [
    (b"", "truncated"), (b"no capture at all, but text", "unknown file format"),
    (bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000") +
     bytes.fromhex("0000000000000000") + b"\xff\xff\xff\x7f" * 2, "capture length"),
    (bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000") +
     bytes.fromhex("00000000000000004000000040000000") + b"cut", "truncated"),
    (bytes.fromhex("d4c3b2a1020004000000000000000000ffff0000e7030000"), "link type")],
    ids=["empty", "text", "length", "cut", "link type"])
def test_bad_capture_is_one_line(lab, content, words):
    path = lab.folder / "bad.pcap"
    path.write_bytes(content)
    config = lab.file("replay.conf", "services = ( { name = \"a\"; address = \"10.0.0.1\"; "
                      "port = 1; secret = \"key\"; } );", 0o644)
    found = replay("--config", config, path)
    said = [line for line in found.stderr.splitlines() if "warning" not in line]
    assert found.returncode == 2 and len(said) == 1, found
    assert str(path) in said[0] and words in said[0]
