# SPDX-License-Identifier: GPL-2.0-or-later
"""Sends every combination of the six classic TCP flags to two ports of one address, and prints as
JSON how each was answered. Runs in the client's namespace.

    probe.py DEVICE SOURCE DESTINATION PORT PORT FIRST-SOURCE-PORT
"""
import json
import random
import socket
import sys
import time

from scapy.config import conf
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from lab import patient

conf.verb = 0
FLAGS = range(64)
QUIET, LIMIT = max(1.5, patient(0.5)), patient(30.0)
# <asm-generic/socket.h>, <linux/if_packet.h>
SO_RCVBUFFORCE, SOL_PACKET, PACKET_IGNORE_OUTGOING = 33, 263, 23


def probes(source, destination, ports, sport):
    """All probes: (name, packet), each from a source port of its own, the same for both ports."""
    randoms = random.Random(sport)
    for port in ports:
        for flags in FLAGS:
            for payload in (b"", b"probe"):
                for tos in (0, 0x10):
                    sport += 1
                    tcp = TCP(sport=sport, dport=port, flags=flags, seq=randoms.getrandbits(32),
                              ack=randoms.getrandbits(32) if flags & 0x10 else 0, window=1024)
                    if ":" in destination:
                        ip = IPv6(src=source, dst=destination, tc=tos, hlim=64)
                    else:
                        ip = IP(src=source, dst=destination, tos=tos, ttl=64, id=sport)
                    packet = ip / tcp / payload
                    yield port, f"flags={flags:02x} payload={len(payload)} tos={tos:02x}", packet


def difference(value, base):
    return (value - base) % 2**32


def describe(answer, probe):
    """Every field of an answer; what depends on the probe relative to it."""
    tcp, sent = answer[TCP], probe[TCP]
    fields = {"flags": int(tcp.flags), "seq": difference(tcp.seq, sent.ack if sent.flags & 0x10 else 0),
              "ack": difference(tcp.ack, sent.seq) if int(tcp.flags) & 0x10 else tcp.ack,
              "window": tcp.window, "urgent": tcp.urgptr, "offset": tcp.dataofs,
              "options": str(tcp.options), "reserved": int(tcp.reserved)}
    if IPv6 in answer:
        fields.update(hop_limit=answer[IPv6].hlim, traffic_class=answer[IPv6].tc,
                      flow_label=answer[IPv6].fl != 0, payload=answer[IPv6].plen)
    else:
        fields.update(ttl=answer[IP].ttl, tos=answer[IP].tos, id=answer[IP].id != 0,
                      ip_flags=int(answer[IP].flags), payload=answer[IP].len)
    return fields


def send_all(destination, packets):
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for packet in packets:
            raw.sendto(bytes(packet), (destination, 0))


def collect(sniffer, destination, by_port, answers):
    """Takes answers until it has been quiet for a while."""
    sniffer.settimeout(QUIET)
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        try:
            frame = Ether(sniffer.recv(65536))
        except TimeoutError:
            return
        ip = frame.getlayer(IPv6) or frame.getlayer(IP)
        if ip is None or TCP not in frame or ip.src != destination:
            continue
        port, name, probe = by_port.get(frame[TCP].dport, (None, None, None))
        if probe is not None:
            # From another port than the one that was asked is a difference, too.
            fields = {"from": frame[TCP].sport == port, **describe(frame, probe)}
            answers[port].setdefault(name, []).append(fields)


def main():
    device, source, destination = sys.argv[1:4]
    ports = [int(port) for port in sys.argv[4:6]]
    plan = list(probes(source, destination, ports, int(sys.argv[6])))
    by_port = {packet[TCP].sport: (port, name, packet) for port, name, packet in plan}
    answers = {port: {} for port in ports}
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as sniffer:
        # All answers may come before the first is read.
        sniffer.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 * 1024 * 1024)
        sniffer.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        sniffer.bind((device, 0))
        for start in range(0, len(plan), 64):
            send_all(destination, [packet for _, _, packet in plan[start:start + 64]])
        collect(sniffer, destination, by_port, answers)
    json.dump([answers[port] for port in ports], sys.stdout)


if __name__ == "__main__":
    main()
