# SPDX-License-Identifier: GPL-2.0-or-later
"""knockctl replay judges a capture as the daemon judged the packets.

The network is that of topology.Direct: client, gateway with knockgw, server."""
import json
import struct
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


def packets_of(address, source, right):
    """A client whose first bytes are right, in packets without a link layer."""
    from scapy.all import IP, TCP, IPv6
    ip = (IPv6 if ":" in address else IP)(src=source, dst=address)
    isn = knock_client.token(KNOCKCTL, SECRET, address, PORT, RIGHT[:N])
    isn = isn if right else isn ^ 0x10000
    ports = {"sport": 40000, "dport": PORT}
    return [bytes(ip / TCP(flags="S", seq=isn, **ports)),
            bytes(ip / TCP(flags="PA", seq=(isn + 1) % 2**32, ack=7, **ports) / RIGHT)]


def ether_type(packet):
    return b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00"


def family_of(packet):
    return 10 if packet[0] >> 4 == 6 else 2


# Number of the link type, and what stands before a packet.
LINKS = {
    "Ethernet": (1, lambda packet: bytes(12) + ether_type(packet)),
    "VLAN": (1, lambda packet: bytes(12) + b"\x81\x00\x00\x05" + ether_type(packet)),
    "VLAN in VLAN": (1, lambda packet: bytes(12) + b"\x88\xa8\x00\x05\x81\x00\x00\x06" +
                     ether_type(packet)),
    "raw IP": (101, lambda packet: b""),
    "cooked": (113, lambda packet: bytes(14) + ether_type(packet)),
    "cooked, VLAN": (113, lambda packet: bytes(14) + b"\x81\x00\x00\x05" + ether_type(packet)),
    "cooked 2": (276, lambda packet: ether_type(packet) + bytes(18)),
    "cooked 2, VLAN": (276, lambda packet: b"\x81\x00" + bytes(18) + b"\x00\x05" +
                       ether_type(packet)),
    "loopback": (0, lambda packet: struct.pack("<I", family_of(packet))),
}


def write_pcap(path, link_type, frames, order="<", magic=0xa1b2c3d4):
    with open(path, "wb") as file:
        file.write(struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link_type))
        for number, frame in enumerate(frames):
            file.write(struct.pack(order + "IIII", 1000 + number, 5, len(frame), len(frame)) + frame)


def pcapng_block(order, kind, body):
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def write_pcapng(path, link_type, frames, order="<"):
    section = struct.pack(order + "IHHq", 0x1a2b3c4d, 1, 0, -1)
    blocks = [pcapng_block(order, 0x0a0d0d0a, section),
              pcapng_block(order, 1, struct.pack(order + "HHI", link_type, 0, 65535))]
    blocks += [pcapng_block(order, 6, struct.pack(order + "IIIII", 0, 0, 1000 + number, len(frame),
                                                  len(frame)) + frame)
               for number, frame in enumerate(frames)]
    path.write_bytes(b"".join(blocks))


FORMATS = {
    "pcap": write_pcap,
    "pcap big-endian": lambda *about: write_pcap(*about, order=">"),
    "pcap nanoseconds": lambda *about: write_pcap(*about, magic=0xa1b23c4d),
    "pcapng": write_pcapng,
    "pcapng big-endian": lambda *about: write_pcapng(*about, order=">"),
}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("link", LINKS)
def test_formats_of_captures(lab, link, format):
    """Connections of both families whose packets are spread over two files; one is refused."""
    link_type, header = LINKS[link]
    clients = [packets_of("10.3.0.2", "10.2.0.2", True), packets_of("fd03::2", "fd02::2", True),
               packets_of("fd03::2", "fd02::3", False)]
    paths = [lab.folder / "first", lab.folder / "second"]
    for number, path in enumerate(paths):
        frames = [header(packets[number]) + packets[number] for packets in clients]
        # What is no IP packet, or too short to tell, is passed over.
        frames[1:1] = [header(clients[0][0])[:-1] + b"\x06", b"\x00"] if link_type == 1 else []
        FORMATS[format](path, link_type, frames)
        path.chmod(0o644)
    config = lab.file("replay.conf", f"""services = ( {{ name = "a"; integrity = {N};
        address = [ "10.3.0.2", "fd03::2" ]; port = {PORT}; secret = "{SECRET}"; }} );""", 0o644)
    found = replay("--config", config, "--summary", *paths)
    assert json.loads(found.stdout) == {"connections": 3, "opened": 2, "pending": 0,
                                        "refused_syn": 1, "refused_data": 0}, found
    reasons = [json.loads(line)["reason"] for line in
               replay("--config", config, *paths).stdout.splitlines()]
    assert reasons == ["token-valid", "token-valid", "token-wrong", "payload-valid",
                       "payload-valid", "no-connection"]


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
    assert found.returncode == 1 and len(said) == 1, found
    assert str(path) in said[0] and words in said[0]
    summary = replay("--config", config, "--summary", path)
    assert summary.returncode == 1 and json.loads(summary.stdout)["connections"] == 0


def test_packets_captured_in_part_are_told(tmp_path):
    """A SYN without its options and a first segment without its bytes would else just be missing."""
    config = tmp_path / "knockgw.conf"
    config.write_text('services = ( { name = "s"; address = "192.0.2.1"; port = 22; secret = "s"; } );')
    tcp = struct.pack(">HHIIBBHHH", 40000, 22, 1, 0, 0xa0, 2, 1000, 0, 0) + b"\1" * 20
    packet = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 60, 0, 0, 64, 6, 0, b"\xc0\0\2\7", b"\xc0\0\2\1") + tcp
    header = struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 101)
    for captured, told in ((60, 0), (40, 1)):
        capture = tmp_path / "capture.pcap"
        capture.write_bytes(header + struct.pack("<IIII", 1, 0, captured, 60) + packet[:captured])
        found = subprocess.run([KNOCKCTL, "replay", "--config", config, "--summary", capture],
                               capture_output=True, text=True, check=True, timeout=60)
        assert found.stderr.count("1 packets were captured only in part") == told, found
