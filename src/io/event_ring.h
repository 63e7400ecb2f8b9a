/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lines on their way from any thread to one reader. Writers never wait: what finds no room is
 * counted and lost. */
#ifndef KNOCKGW_IO_EVENT_RING_H
#define KNOCKGW_IO_EVENT_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EVENT_RING_SLOTS = 512, EVENT_LINE_SIZE = 1024 };

struct event_ring;

/* Returns NULL with errno set. */
struct event_ring *event_ring_new(void);
void event_ring_free(struct event_ring *ring);

/* Readable when there may be lines; for the reader's event loop. */
int event_ring_fd(const struct event_ring *ring);

/* Whether a line would find room now; when not, it is counted as lost: ask before making one. */
bool event_ring_has_room(struct event_ring *ring);

/* Puts a line in, with a number that comes out with it; length less than EVENT_LINE_SIZE. Any
 * thread. */
void event_ring_push(struct event_ring *ring, unsigned int tag, const char *line, size_t length);

/* Call it before a round of event_ring_pop. Reader only. */
void event_ring_acknowledge(struct event_ring *ring);

/* Takes the oldest line out. Returns its length, 0 when there is none. Reader only. */
size_t event_ring_pop(struct event_ring *ring, char line[static EVENT_LINE_SIZE],
		      unsigned int *tag);

/* How many lines have been lost since the last call. Reader only. */
uint64_t event_ring_lost(struct event_ring *ring);

#endif
