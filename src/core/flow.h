/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A translated connection: how its sequence numbers differ, and how long it has to be remembered.
 * Pure values; the table that they live in may be a file that outlives the process. */
#ifndef KNOCKGW_CORE_FLOW_H
#define KNOCKGW_CORE_FLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "packet.h"
#include "table.h"

/* The first SYN of a client, as the client sent it. All numbers in host byte order. */
struct flow_syn {
	uint32_t isn;
	uint32_t delta; /* number on the wire = client's number + delta; the token is isn + delta */
	uint32_t tsval; /* 0 without timestamp option */
	uint16_t window;   /* never scaled */
	uint16_t length;   /* of the sequence space it takes up: more than 1 with Fast Open data */
	uint8_t shift;     /* window scale; UINT8_MAX without that option */
	uint8_t timestamp; /* 1: it had a timestamp option */
	uint8_t reserved[2];
};

enum flow_direction { FLOW_FROM_CLIENT, FLOW_FROM_SERVER };

/* What is known of one end. Sequence numbers as on the wire. */
struct flow_side {
	uint32_t sent;         /* end of what it has sent */
	uint32_t acknowledged; /* what it has acknowledged of the other side's */
	uint32_t limit;        /* end of the window that it ever offered the other side */
};

enum flow_flag {
	FLOW_SERVER_SYN = 0x01,  /* the server's SYN was seen */
	FLOW_ANSWERED = 0x02,    /* the server has acknowledged the token */
	FLOW_ESTABLISHED = 0x04, /* the client has acknowledged that */
	FLOW_CLIENT_FIN = 0x08,
	FLOW_SERVER_FIN = 0x10,
	FLOW_RESET = 0x20,
};

/* The value in the table, keyed by the tuple client -> server as on the wire. */
struct flow {
	/* fixed once inserted (sealed by the table) */
	struct flow_syn syn;
	uint32_t destination; /* its index */
	/* changing */
	struct flow_syn next;      /* a SYN on this tuple that the server has not accepted yet */
	struct flow_side sides[2]; /* by enum flow_direction: the sender's */
	uint8_t shifts[2];         /* window scale of each side's windows */
	uint8_t flags;             /* enum flow_flag */
	uint8_t has_next;
};

/* Timeouts in milliseconds, those of nf_conntrack_proto_tcp.c. */
enum {
	FLOW_TIMEOUT_SYN_SENT = 120 * 1000,
	FLOW_TIMEOUT_SYN_RECEIVED = 60 * 1000,
	FLOW_TIMEOUT_ESTABLISHED = 5 * 24 * 3600 * 1000,
	FLOW_TIMEOUT_FIN = 120 * 1000,
	FLOW_TIMEOUT_TIME_WAIT = 120 * 1000,
	FLOW_TIMEOUT_CLOSED = 10 * 1000,
};

/* The layout of a table of flows. */
struct table_layout flow_table_layout(uint32_t capacity);

/* Which of count workers, at most FLOW_SHARDS, a connection belongs to. It goes by the client's
 * port, in the same way as the ruleset: clients choose ports at random, though Linux prefers odd or
 * even ones. */
enum { FLOW_SHARDS = 64 };
unsigned int flow_shard(uint16_t client_port, unsigned int count);

/* A flow whose SYN is segment, still with the client's number, and whose token is isn + delta. */
void flow_init(struct flow *flow, const struct segment *syn, uint32_t delta, uint32_t destination);

/* Remembers a SYN on a tuple that the server has answered on before. */
void flow_set_next(struct flow *flow, const struct segment *syn, uint32_t delta);

/* The flow that takes the old one's place when the server has accepted old->next. */
void flow_accept_next(struct flow *flow, const struct flow *old);

/* Whether a segment from the server, with the number of the wire, acknowledges flow->next. */
bool flow_answers_next(const struct flow *flow, const struct segment *segment);

/* Follows a segment with wire numbers (RFC 9293 3.10.7; what is not in the receiver's window
 * changes nothing) and returns the timeout in milliseconds from now on. */
uint32_t flow_follow(struct flow *flow, const struct segment *segment,
		     enum flow_direction direction);

/* The timeout of its present state. */
uint32_t flow_timeout(const struct flow *flow);

/* "syn-sent", "syn-received", "established", "fin-wait", "time-wait", "closed". */
const char *flow_state_word(const struct flow *flow);

/* The same states as numbers, and their words. flow: a struct flow. */
enum flow_state {
	FLOW_STATE_SYN_SENT,
	FLOW_STATE_SYN_RECEIVED,
	FLOW_STATE_ESTABLISHED,
	FLOW_STATE_FIN_WAIT,
	FLOW_STATE_TIME_WAIT,
	FLOW_STATE_CLOSED,
	FLOW_STATES,
};
unsigned int flow_state_number(const void *flow);
const char *flow_state_name(unsigned int state);

#endif
