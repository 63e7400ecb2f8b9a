# SPDX-License-Identifier: GPL-2.0-or-later
"""What a server with the Knock patch decides about the packets of a capture: its rules and its
arithmetic once more, written apart from knockgw's, so that what leaves egress is held against them."""
import hashlib
import ipaddress
import math
import struct

_SHIFTS = (7, 12, 17, 22), (5, 9, 14, 20), (4, 11, 16, 23), (6, 10, 15, 21)
_SINES = [int(abs(math.sin(i + 1)) * 2**32) for i in range(64)]
_IV = 16


def md5_compress(state, block):
    """One block of RFC 1321, with the final addition."""
    words = struct.unpack("<16I", block)
    a, b, c, d = start = struct.unpack("<4I", state)
    for i in range(64):
        if i < 16:
            mixed, word = (b & c) | (~b & d), i
        elif i < 32:
            mixed, word = (d & b) | (~d & c), (5 * i + 1) % 16
        elif i < 48:
            mixed, word = b ^ c ^ d, (3 * i + 5) % 16
        else:
            mixed, word = c ^ (b | (~d & 0xffffffff)), 7 * i % 16
        mixed = (mixed + a + _SINES[i] + words[word]) & 0xffffffff
        shift = _SHIFTS[i // 16][i % 4]
        a, d, c = d, c, b
        b = (b + (mixed << shift | mixed >> (32 - shift))) & 0xffffffff
    return [(left + right) & 0xffffffff for left, right in zip(start, (a, b, c, d))]


def padded(secret):
    return secret.encode().ljust(64, b"\0")[:64]


def payload_hash(secret, payload):
    digest = hashlib.md5(padded(secret) + payload).digest()
    result = 0
    for word in struct.unpack(">8H", digest):
        result ^= word
    return result


def isn(secret, address, port, tsval, hash16):
    """What the ISN must be: the high half authenticates, the low half is the hash itself."""
    vector = bytearray(ipaddress.ip_address(address).packed.ljust(_IV, b"\0"))
    for at, field in ((4, struct.pack(">H", hash16)), (8, struct.pack(">I", tsval)),
                      (12, struct.pack(">H", port))):
        for i, byte in enumerate(field):
            vector[at + i] ^= byte
    a, b, c, d = md5_compress(bytes(vector), padded(secret))
    return ((a ^ b ^ c ^ d) & 0xffff0000) | hash16


def judge(packets, secret, length):
    """By client address and port: "refused" by the SYN, "pending", "opened", or "reset" by the
    payload. The SYN is judged by its high half. Every segment with data is judged until one was
    right: it must begin with length bytes that have the hash that stands one before its number."""
    from scapy.all import IP, TCP, IPv6
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
