# SPDX-License-Identifier: GPL-2.0-or-later
"""What a server with the Knock patch decides about the packets of a capture: its rules and its
arithmetic once more, written apart from knockgw's, so that what leaves egress is held against them."""
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "model"))
from knock_model import authenticator, payload_hash  # noqa: E402


def isn(secret, address, port, tsval, hash16):
    """What the ISN must be: the high half authenticates, the low half is the hash itself."""
    return authenticator(secret, address, port, tsval, hash16) & 0xffff0000 | hash16


def judge(packets, secret, length):
    """By client address and port: "refused" by the SYN, "pending", "opened", or "reset" by the
    payload. The SYN is judged by its high half. Every segment with data is judged until one was
    right: it must begin with length bytes that have the hash that stands one before its number."""
    from scapy.all import IP, TCP, IPv6
    secret = secret.encode()
    fates = {}
    for packet in packets:
        if TCP not in packet:
            continue
        ip, tcp = packet[IPv6] if IPv6 in packet else packet[IP], packet[TCP]
        client = (ip.src, tcp.sport)
        if tcp.flags.S and not tcp.flags.A:
            tsval = dict(tcp.options).get("Timestamp", (0, 0))[0]
            right = tcp.seq == isn(secret, ip.dst, tcp.dport, tsval, tcp.seq & 0xffff)
            fates[client] = "pending" if right else "refused"
        elif fates.get(client) == "pending":
            data = data_of(packet)
            if data:
                right = len(data) >= length and \
                    payload_hash(secret, data[:length]) == (tcp.seq - 1) & 0xffff
                fates[client] = "opened" if right else "reset"
    return fates


def data_of(packet):
    """The payload of a segment, without what Ethernet pads it with."""
    from scapy.all import IP, TCP, IPv6
    tcp = packet[TCP]
    length = packet[IPv6].plen if IPv6 in packet else packet[IP].len - 4 * packet[IP].ihl
    return bytes(tcp.payload)[:length - 4 * tcp.dataofs]
