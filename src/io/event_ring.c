/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "event_ring.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* A slot's sequence tells whose turn it is: its position for a writer, position + 1 for the reader
 * (Vyukov's bounded queue, with a single reader). */
struct slot {
	_Atomic size_t sequence;
	size_t length;
	unsigned int tag;
	char line[EVENT_LINE_SIZE];
};

struct event_ring {
	_Atomic size_t head; /* where the next line goes */
	size_t tail;         /* the reader's */
	_Atomic uint64_t lost;
	atomic_bool woken; /* the reader was told already */
	int fd;
	struct slot slots[EVENT_RING_SLOTS];
};

struct event_ring *event_ring_new(void)
{
	struct event_ring *ring = calloc(1, sizeof(*ring));

	if (ring == NULL)
		return NULL;
	for (size_t i = 0; i < EVENT_RING_SLOTS; i++)
		atomic_init(&ring->slots[i].sequence, i);
	ring->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ring->fd >= 0)
		return ring;
	free(ring);
	return NULL;
}

void event_ring_free(struct event_ring *ring)
{
	if (ring == NULL)
		return;
	close(ring->fd);
	free(ring);
}

int event_ring_fd(const struct event_ring *ring)
{
	return ring->fd;
}

static struct slot *slot_at(struct event_ring *ring, size_t position)
{
	return &ring->slots[position % EVENT_RING_SLOTS];
}

static void count_lost(struct event_ring *ring)
{
	atomic_fetch_add_explicit(&ring->lost, 1, memory_order_relaxed);
}

bool event_ring_has_room(struct event_ring *ring)
{
	size_t position = atomic_load_explicit(&ring->head, memory_order_relaxed);
	const struct slot *slot = slot_at(ring, position);
	size_t sequence = atomic_load_explicit(&slot->sequence, memory_order_relaxed);

	if ((ptrdiff_t)(sequence - position) >= 0)
		return true;
	count_lost(ring);
	return false;
}

/* The slot that is the caller's to fill, or NULL when all are taken. */
static struct slot *claim(struct event_ring *ring, size_t *position)
{
	*position = atomic_load_explicit(&ring->head, memory_order_relaxed);
	for (;;) {
		struct slot *slot = slot_at(ring, *position);
		size_t sequence = atomic_load_explicit(&slot->sequence, memory_order_acquire);
		ptrdiff_t turn = (ptrdiff_t)(sequence - *position);

		if (turn < 0)
			return NULL;
		if (turn > 0)
			*position = atomic_load_explicit(&ring->head, memory_order_relaxed);
		else if (atomic_compare_exchange_weak_explicit(&ring->head, position, *position + 1,
							       memory_order_relaxed,
							       memory_order_relaxed))
			return slot;
	}
}

void event_ring_push(struct event_ring *ring, unsigned int tag, const char *line, size_t length)
{
	const uint64_t one = 1;
	size_t position;
	struct slot *slot = length < EVENT_LINE_SIZE ? claim(ring, &position) : NULL;

	if (slot == NULL) {
		count_lost(ring);
		return;
	}
	memcpy(slot->line, line, length);
	slot->length = length;
	slot->tag = tag;
	atomic_store_explicit(&slot->sequence, position + 1, memory_order_release);
	if (!atomic_exchange(&ring->woken, true)) {
		ssize_t written = write(ring->fd, &one, sizeof(one));
		(void)written;
	}
}

void event_ring_acknowledge(struct event_ring *ring)
{
	uint64_t count;
	ssize_t got = read(ring->fd, &count, sizeof(count));

	(void)got;
	/* Only now: what comes in behind this wakes the reader once more. */
	atomic_store(&ring->woken, false);
}

size_t event_ring_pop(struct event_ring *ring, char line[static EVENT_LINE_SIZE], unsigned int *tag)
{
	struct slot *slot = slot_at(ring, ring->tail);

	if (atomic_load_explicit(&slot->sequence, memory_order_acquire) != ring->tail + 1)
		return 0;
	size_t length = slot->length;
	*tag = slot->tag;
	memcpy(line, slot->line, length);
	line[length] = '\0';
	atomic_store_explicit(&slot->sequence, ring->tail + EVENT_RING_SLOTS, memory_order_release);
	ring->tail++;
	return length;
}

uint64_t event_ring_lost(struct event_ring *ring)
{
	return atomic_exchange_explicit(&ring->lost, 0, memory_order_relaxed);
}
