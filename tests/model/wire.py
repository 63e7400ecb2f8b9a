# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole TCP segments and ICMP errors as bytes, by RFC 791, 8200, 9293, 792 and 4443 alone."""
import dataclasses
import ipaddress
import struct

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32


def ones_sum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total


@dataclasses.dataclass(frozen=True)
class Segment:
    """What stands in a segment; options as raw bytes, a multiple of four."""
    source: str
    destination: str
    source_port: int
    destination_port: int
    sequence: int
    acknowledgement: int = 0
    flags: int = ACK
    window: int = 64000
    urgent: int = 0
    options: bytes = b""
    payload: bytes = b""
    extra: bytes = b""  # IPv4: IP options; IPv6: a destination options header without its first byte
    wrong_checksum: int = 0  # added to the right one

    def replace(self, **fields):
        return dataclasses.replace(self, **fields)

    @property
    def tuple(self):
        return self.source, self.source_port, self.destination, self.destination_port

    @property
    def is_initial_syn(self):
        return self.flags & (SYN | ACK | FIN | RST) == SYN

    def walk_options(self):
        """(kind, data, offset of the data) until END or an option whose length cannot be."""
        at = 0
        while at < len(self.options):
            kind = self.options[at]
            if kind == 0:
                return
            if kind == 1:
                at += 1
                continue
            if at + 2 > len(self.options):
                return
            length = self.options[at + 1]
            if length < 2 or at + length > len(self.options):
                return
            yield kind, self.options[at + 2:at + length], at + 2
            at += length

    def timestamp(self):
        """(TSval, offset in the options) of the first timestamp option, or None."""
        for kind, data, at in self.walk_options():
            if kind == 8 and len(data) == 8:
                return struct.unpack("!I", data[:4])[0], at
        return None

    def set_option_bytes(self, at, data):
        return self.replace(options=self.options[:at] + data + self.options[at + len(data):])

    def tcp(self):
        source = ipaddress.ip_address(self.source).packed
        destination = ipaddress.ip_address(self.destination).packed
        assert len(self.options) % 4 == 0 and len(self.options) <= 40
        header = struct.pack("!HHIIBBHHH", self.source_port, self.destination_port, self.sequence,
                             self.acknowledgement, (20 + len(self.options)) // 4 << 4, self.flags,
                             self.window, 0, self.urgent) + self.options
        length = len(header) + len(self.payload)
        pseudo = source + destination + struct.pack("!II", length, 6)
        checksum = 0xffff - ones_sum(pseudo + header + self.payload)
        checksum = (checksum + self.wrong_checksum) % 0x10000
        return header[:16] + struct.pack("!H", checksum) + header[18:] + self.payload

    def pack(self):
        source = ipaddress.ip_address(self.source)
        destination = ipaddress.ip_address(self.destination)
        tcp = self.tcp()
        if source.version == 4:
            header = struct.pack("!BBHHHBBH", 0x45 + len(self.extra) // 4, 0,
                                 20 + len(self.extra) + len(tcp), 0x1234, 0x4000, 64, 6, 0)
            header += source.packed + destination.packed + self.extra
            checksum = 0xffff - ones_sum(header)
            return header[:10] + struct.pack("!H", checksum) + header[12:] + tcp
        extension = b"\x06" + self.extra if self.extra else b""
        header = struct.pack("!IHBB", 0x60000000, len(extension) + len(tcp),
                             60 if extension else 6, 64)
        return header + source.packed + destination.packed + extension + tcp


def parse(packet):
    """The segment in an IP packet without IP options and extension headers, whole and with right
    checksums."""
    version = packet[0] >> 4
    size, ends = (20, packet[12:20]) if version == 4 else (40, packet[8:40])
    half = len(ends) // 2
    tcp = packet[size:]
    ports_and_numbers = struct.unpack("!HHII", tcp[:12])
    length, flags, window, _, urgent = struct.unpack("!BBHHH", tcp[12:20])
    length = (length >> 4) * 4
    segment = Segment(*(str(ipaddress.ip_address(end)) for end in (ends[:half], ends[half:])),
                      *ports_and_numbers, flags, window, urgent, tcp[20:length], tcp[length:])
    assert segment.tcp() == tcp, "a wrong checksum"
    if version == 4:
        assert ones_sum(packet[:20]) == 0xffff, "a wrong checksum"
    return segment


def icmp_error(source, destination, quoted):
    """Fragmentation needed, or packet too big, about the quoted bytes."""
    source, destination = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    if source.version == 4:
        message = struct.pack("!BBHHH", 3, 4, 0, 0, 1280) + quoted
        message = message[:2] + struct.pack("!H", 0xffff - ones_sum(message)) + message[4:]
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(message), 7, 0, 64, 1, 0)
        header += source.packed + destination.packed
        return header[:10] + struct.pack("!H", 0xffff - ones_sum(header)) + header[12:] + message
    message = struct.pack("!BBHI", 2, 0, 0, 1280) + quoted
    pseudo = source.packed + destination.packed + struct.pack("!II", len(message), 58)
    message = message[:2] + struct.pack("!H", 0xffff - ones_sum(pseudo + message)) + message[4:]
    header = struct.pack("!IHBB", 0x60000000, len(message), 58, 64)
    return header + source.packed + destination.packed + message
