/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads IP packets from capture files (pcap and pcapng, by libpcap). */
#ifndef KNOCKGW_IO_CAPTURE_H
#define KNOCKGW_IO_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct capture;

enum { CAPTURE_ERROR_SIZE = 256 };

/* Link types: Ethernet (with VLAN tags), raw IP, Linux cooked (version 1 and 2), BSD loopback.
 * Returns NULL with one line in error. */
struct capture *capture_open(const char *path, char error[static CAPTURE_ERROR_SIZE]);
void capture_close(struct capture *capture);

struct captured_packet {
	uint8_t *bytes; /* the IP header; may be written to until the next call */
	size_t length;  /* bytes that were captured */
	bool cut;       /* the packet had more */
	int64_t seconds;
	int64_t microseconds;
};

/* The next IP packet; others are stepped over. Returns 1, 0 at the end, or -1 with one line in
 * error. */
int capture_next(struct capture *capture, struct captured_packet *packet,
		 char error[static CAPTURE_ERROR_SIZE]);

#endif
