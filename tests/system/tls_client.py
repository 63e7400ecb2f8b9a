# SPDX-License-Identifier: GPL-2.0-or-later
"""A TLS client whose ISN covers the first bytes of its ClientHello, as a Knock client's does. Prints
what the server answers to "GET /". Needs net.ipv4.tcp_timestamps=0, like knock_client.

    KNOCK_SECRET=... tls_client.py KNOCKCTL ADDRESS PORT N [changed]

With "changed" one bit of these bytes is another one than the ISN says: a man in the middle."""
import os
import ssl
import sys

import knock_client


def main():
    knockctl, address, port, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    from_server, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(from_server, to_server)

    def exchange(step):
        """Runs a step of TLS, with as many segments both ways as it takes."""
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                result = None
            if to_server.pending:
                remote.sendall(to_server.read())
            if result is not None:
                return result
            data = remote.recv(65536)
            if not data:
                raise ConnectionError("the server has ended the connection")
            from_server.write(data)

    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        hello = bytearray(to_server.read())
    isn = knock_client.token(knockctl, os.environ["KNOCK_SECRET"], address, port, bytes(hello[:count]))
    if "changed" in sys.argv[5:]:
        hello[count - 1] ^= 1
    try:
        with knock_client.connect(address, port, isn) as remote:
            remote.sendall(hello)
            exchange(lambda: tls.do_handshake() or True)
            tls.write(b"GET / HTTP/1.0\r\n\r\n")
            print(exchange(lambda: tls.read(65536)).decode().rpartition("\r\n\r\n")[2], end="")
    except OSError as error:
        print(type(error).__name__, end="")


if __name__ == "__main__":
    main()
