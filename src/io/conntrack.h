/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Questions to the kernel's connection tracking, over ctnetlink. One handle for each thread. */
#ifndef KNOCKGW_IO_CONNTRACK_H
#define KNOCKGW_IO_CONNTRACK_H

#include <stdint.h>

#include "core/tuple.h"

struct conntrack;

/* Returns NULL with errno set. */
struct conntrack *conntrack_open(void);
void conntrack_close(struct conntrack *conntrack);

struct conntrack_entry {
	uint32_t mark;
	uint32_t status;       /* enum ip_conntrack_status */
	uint8_t state;         /* enum tcp_state of libnetfilter_conntrack */
	struct tuple original; /* of the client's direction, as it stood on the wire */
	struct tuple reply;    /* of the other direction: server -> client, before NAT is undone */
};

/* Looks up a TCP connection by the tuple of either direction, as it stood on the wire. Returns 1
 * when there is one, 0 when there is none, -1 with errno set when the kernel gave no answer within
 * a second. */
int conntrack_lookup(struct conntrack *conntrack, const struct tuple *tuple,
		     struct conntrack_entry *entry);

/* Calls back for every TCP connection whose mark has that value in the bits of mask, which is not
 * 0. row must not use conntrack. Returns 0, or -1 with errno set: then some may be missing. */
int conntrack_list(struct conntrack *conntrack, uint32_t value, uint32_t mask,
		   void (*row)(void *context, const struct conntrack_entry *entry), void *context);

/* Gives the bits of mask in the mark of a connection that value. Returns 0, or -1 with errno set,
 * ENOENT when there is no such connection. */
int conntrack_mark(struct conntrack *conntrack, const struct tuple *original, uint32_t value,
		   uint32_t mask);

/* Forgets a connection. Returns 0, also when there is none, or -1 with errno set. */
int conntrack_delete(struct conntrack *conntrack, const struct tuple *original);

#endif
