/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packets that the gateway originates, over raw sockets. */
#ifndef KNOCKGW_IO_INJECT_H
#define KNOCKGW_IO_INJECT_H

#include <stddef.h>
#include <stdint.h>

#include "core/segment_build.h"
#include "core/tuple.h"

struct inject;

/* Packets leave with that packet mark. Returns NULL with errno set. */
struct inject *inject_open(uint32_t mark);
void inject_close(struct inject *inject);

/* Sends a complete IP packet to the destination in its header. Returns 0 or -1 with errno set. */
int inject_packet(struct inject *inject, const uint8_t *bytes, size_t length);

enum { INJECT_PAYLOAD_MAX = 9000 };

/* Builds a segment of at most INJECT_PAYLOAD_MAX payload bytes and sends it. */
int inject_plan(struct inject *inject, const struct segment_plan *plan);

/* Sends a bare TCP segment with those numbers (host byte order) and flags, without options. */
int inject_segment(struct inject *inject, const struct tuple *tuple, uint32_t sequence,
		   uint32_t acknowledgement, uint8_t flags);

#endif
