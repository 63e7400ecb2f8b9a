# SPDX-License-Identifier: GPL-2.0-or-later
"""Sends SYNs, each with a tuple of its own, from the addresses 10.9.x.y; many thousands a second.

    segment_flood.py DESTINATION PORT ISN COUNT PER-SECOND [FIRST]

The ISN "wrong" is another random one each time. FIRST says which tuple comes first.
"""
import random
import socket
import struct
import sys
import time

ADDRESSES = 200


def ones_complement(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total


def syn(destination, port, isn, number):
    """The bytes of one SYN; the kernel fills in what the IP header lacks."""
    address = socket.inet_aton("10.9.0.0")[:2] + struct.pack("!H", 1 + number % ADDRESSES)
    to = socket.inet_aton(destination)
    tcp = struct.pack("!HHIIBBHHH", 1024 + number // ADDRESSES, port, isn, 0, 5 << 4, 2, 64240, 0, 0)
    checksum = ~ones_complement(address + to + struct.pack("!HH", 6, len(tcp)) + tcp) & 0xffff
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0) + address + to
    return ip + tcp[:16] + struct.pack("!H", checksum) + tcp[18:]


def main():
    destination, port, isn, count, rate, *first = sys.argv[1:]
    first = int(first[0]) if first else 0
    start = time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for number in range(int(count)):
            number_isn = random.getrandbits(32) if isn == "wrong" else int(isn)
            raw.sendto(syn(destination, int(port), number_isn, first + number), (destination, 0))
            ahead = start + number / int(rate) - time.monotonic()
            if ahead > 0.005:
                time.sleep(ahead)
    print(f"{int(count) / (time.monotonic() - start):.0f}")


if __name__ == "__main__":
    main()
