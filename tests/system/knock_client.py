# SPDX-License-Identifier: GPL-2.0-or-later
"""An authorised client without the egress role: a TCP socket whose ISN is set with TCP_REPAIR.

The TSval of its SYN cannot be known beforehand, so its namespace needs net.ipv4.tcp_timestamps=0.
Run as a program it relays: a ProxyCommand for ssh, or a local port for curl. The secret is in the
environment variable KNOCK_SECRET.
"""
import argparse
import os
import select
import socket
import struct
import subprocess
import sys
import threading

TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ = 19, 20, 21
TCP_SEND_QUEUE, REPAIR_ON, REPAIR_OFF_NO_WINDOW_PROBE = 2, 1, -1


def token(knockctl, secret, address, port, payload=None, tsval=0):
    """The ISN for a SYN with that TSval; over payload in integrity mode."""
    command = [knockctl, "token", "--address", address, "--port", str(port),
               "--tsval", f"{tsval:08x}"]
    if payload is not None:
        command += ["--payload-hex", payload.hex()]
    environment = {**os.environ, "KNOCK_SECRET": secret}
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return int(output.stdout, 16)


def connect(address, port, isn, timeout=10.0, source_port=0, source=""):
    """Connects with that ISN. Raises OSError as connect() does."""
    client = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    client.settimeout(timeout)
    try:
        if source_port or source:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind((source, source_port))
        client.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, REPAIR_ON)
        client.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE)
        client.setsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ, struct.pack("I", isn))
        client.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, REPAIR_OFF_NO_WINDOW_PROBE)
        client.connect((address, port))
    except OSError:
        client.close()
        raise
    return client


def relay(local_read, local_write, remote):
    """Copies bytes both ways until both sides have ended."""
    sources = [local_read, remote.fileno()]
    while sources:
        for ready in select.select(sources, [], [])[0]:
            data = os.read(ready, 65536)
            if ready == remote.fileno():
                if data:
                    os.write(local_write, data)
                else:
                    return
            elif data:
                remote.sendall(data)
            else:
                sources.remove(ready)
                remote.shutdown(socket.SHUT_WR)


def serve(options, isn):
    listener = socket.create_server(("127.0.0.1", options.listen))
    print("listening", flush=True)

    def handle(local):
        with local, connect(options.address, options.port, isn) as remote:
            remote.settimeout(None)
            relay(local.fileno(), local.fileno(), remote)

    while True:
        local, _ = listener.accept()
        threading.Thread(target=handle, args=(local,), daemon=True).start()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--knockctl", default="knockctl")
    parser.add_argument("--listen", type=int, help="relay from this local port (else from stdio)")
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    options = parser.parse_args()
    isn = token(options.knockctl, os.environ["KNOCK_SECRET"], options.address, options.port)
    if options.listen:
        serve(options, isn)
    try:
        with connect(options.address, options.port, isn) as remote:
            remote.settimeout(None)
            relay(sys.stdin.fileno(), sys.stdout.fileno(), remote)
    except OSError as error:
        sys.exit(f"knock_client: {error}")


if __name__ == "__main__":
    main()
