# SPDX-License-Identifier: GPL-2.0-or-later
"""A TCP client segment by segment, for what no kernel would send. Runs in the client's namespace,
where the kernel's own RSTs are kept from leaving.

    raw_client.py ADDRESS SOURCE PORT SOURCE-PORT ISN-HEX < SCRIPT

The script is Python with a Client c. It prints what it wants the test to know.
"""
import socket
import sys
import time

from scapy.config import conf
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

conf.verb = 0


class Client:
    def __init__(self, address, source, port, source_port, isn):
        self.address, self.source = address, source
        self.ports = {"sport": source_port, "dport": port}
        self.isn, self.peer = isn, None
        self.gateway = None  # its Ethernet address, once it has sent something
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self.sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.sniffer.bind(("up0", 0))

    def send(self, flags, offset=0, payload=b"", **fields):
        """A segment at ISN + offset that acknowledges what came in order so far."""
        ip = IPv6 if ":" in self.address else IP
        checksum_error = fields.pop("wrong_checksum", False)
        hops = {"hlim" if ip is IPv6 else "ttl": fields.pop("hops", 64)}
        packet = ip(src=self.source, dst=self.address, **hops) / TCP(
            flags=flags, seq=(self.isn + offset) % 2**32, ack=self.peer or 0,
            window=fields.pop("window", 65000), **self.ports, **fields) / payload
        if checksum_error:
            packet = ip(bytes(packet))
            packet[TCP].chksum ^= 0x0101
        self.raw.sendto(bytes(packet), (self.address, 0))

    def send_back(self, flags, sequence, offset, source=None, to=None):
        """A segment in the server's name, as somebody between us and the gateway would forge it: it
        goes to the gateway all the same."""
        ip = IPv6 if ":" in self.address else IP
        packet = ip(src=source or self.address, dst=to or self.source) / TCP(
            flags=flags, seq=sequence, ack=(self.isn + offset) % 2**32, window=65000,
            sport=self.ports["dport"], dport=self.ports["sport"])
        self.sniffer.send(bytes(Ether(dst=self.gateway) / packet))

    def receive(self, timeout=3.0):
        """The next segment for us, or None."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            self.sniffer.settimeout(left)
            try:
                frame = Ether(self.sniffer.recv(65536))
            except TimeoutError:
                return None
            if TCP in frame and frame[TCP].dport == self.ports["sport"] and \
                    frame[TCP].sport == self.ports["dport"]:
                self.gateway = frame.src
                return frame[TCP]
        return None

    def wait(self, flags, timeout=3.0):
        """The next segment with all of these flags."""
        while (segment := self.receive(timeout)) is not None:
            if all(flag in str(segment.flags) for flag in flags):
                return segment
        return None

    def connect(self, payload=b"", patience=3.0):
        """SYN, SYN+ACK, ACK. Returns whether the server answered."""
        self.send("S", payload=payload)
        answer = self.wait("SA", patience)
        if answer is None:
            return False
        self.peer = (answer.seq + 1) % 2**32
        self.send("A", 1)
        return True


def main():
    address, source, port, source_port, isn = sys.argv[1:6]
    exec(sys.stdin.read(),
         {"c": Client(address, source, int(port), int(source_port), int(isn, 16)), "time": time})


if __name__ == "__main__":
    main()
