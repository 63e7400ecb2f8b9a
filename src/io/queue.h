/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One queue of nfnetlink_queue over libmnl: packets in, verdicts out, many in one system call. */
#ifndef KNOCKGW_IO_QUEUE_H
#define KNOCKGW_IO_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/histogram.h"

struct queue;

struct queue_options {
	uint16_t number;
	uint32_t copy_range; /* bytes of a packet that are handed over, up to 65535 */
	uint32_t max_length; /* packets that may wait in the kernel; more are dropped */
};

/* A packet as the kernel hands it over. */
struct queue_packet {
	uint32_t id; /* host byte order */
	uint32_t mark;
	uint32_t indev; /* interface index, 0: none */
	uint32_t outdev;
	uint8_t hook;            /* NF_INET_* */
	bool checksum_not_ready; /* left to the device (NFQA_SKB_CSUMNOTREADY) */
	bool unsegmented;        /* several segments in one (NFQA_SKB_GSO) */
	uint8_t *payload; /* may be written to; valid until the next queue_receive. NULL: none */
	size_t length;
};

/* Counters of one queue. Written by its thread, readable from any. */
struct queue_counters {
	_Atomic uint64_t packets;
	_Atomic uint64_t batches;        /* system calls that brought packets */
	_Atomic uint64_t overruns;       /* ENOBUFS: the socket buffer was full */
	_Atomic uint64_t malformed;      /* netlink messages that made no sense */
	_Atomic uint64_t verdict_errors; /* verdicts that the kernel did not take */
	_Atomic uint64_t packets_gone;   /* of these: the packet was no longer there (ENOENT) */
	/* From the return of the receiving call to that of the call that sent the verdicts: the
	 * same for all packets of a batch, so two looks at the clock are enough for all. */
	struct histogram durations;
};

enum { QUEUE_ERROR_SIZE = 160 };

/* Binds the queue. Returns NULL with one line in error. */
struct queue *queue_open(const struct queue_options *options, char error[static QUEUE_ERROR_SIZE]);

/* Unbinds it: packets that still wait are dropped by the kernel. */
void queue_close(struct queue *queue);

/* To poll for reading; never blocks. */
int queue_fd(const struct queue *queue);

/* Takes one batch of packets and calls back for each, then sends the verdicts that were given.
 * Returns how many messages there were, 0 when none, or -1 with errno set when the socket is beyond
 * repair. */
int queue_receive(struct queue *queue, void (*packet)(void *context, struct queue_packet *packet),
		  void *context);

/* Raises what is handed over of each packet; never lowers it. From the queue's own thread, between
 * two batches. Without memory for longer packets they go on being cut short. */
void queue_widen(struct queue *queue, uint32_t copy_range);

/* Gives a verdict (NF_ACCEPT, NF_DROP, …) for a packet. mark: the new packet mark, or NULL to leave
 * it. payload: the new packet, or NULL to leave it; must stay valid until the verdict is sent,
 * which a payload of the current batch does. */
void queue_verdict(struct queue *queue, uint32_t id, uint32_t verdict, const uint32_t *mark,
		   const uint8_t *payload, size_t length);

/* Sends all verdicts now: when it returns, their packets have gone through the rest of their hook.
 */
void queue_flush(struct queue *queue);

const struct queue_counters *queue_counters(const struct queue *queue);

/* Opens what queue_kernel_counters reads, as only root may: call it before the daemon becomes
 * another user. One who never was root may get the file as standard input (systemd:
 * StandardInput=file:). Returns false when there is neither. */
bool queue_statistics_open(void);

/* What /proc/net/netfilter/nfnetlink_queue says about a queue number. */
struct queue_kernel_counters {
	uint32_t waiting;      /* packets in the queue */
	uint32_t dropped;      /* because the queue was full */
	uint32_t user_dropped; /* because the socket buffer was full */
};

/* Returns false when the kernel does not list that queue. For one thread at a time. */
bool queue_kernel_counters(uint16_t number, struct queue_kernel_counters *counters);

/* Takes what the kernel sent in one datagram apart: counts, and calls back for each packet. Pure;
 * length bytes are there, aligned as netlink headers must be. */
void queue_take_datagram(struct queue_counters *counters, const uint8_t *bytes, size_t length,
			 void (*packet)(void *context, struct queue_packet *packet), void *context);

/* Takes a netlink message of type NFQNL_MSG_PACKET apart. Returns false when it makes no sense.
 * Pure; length bytes at message are there. */
struct nlmsghdr;
bool queue_parse(const struct nlmsghdr *message, struct queue_packet *packet);

#endif
