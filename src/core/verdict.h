/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an engine decides about one packet. The edges carry it out. */
#ifndef KNOCKGW_CORE_VERDICT_H
#define KNOCKGW_CORE_VERDICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reason.h"

enum verdict {
	VERDICT_CLOSED, /* protect: the closed-port path. Zero, so that forgetting one is safe */
	VERDICT_DROP,   /* nothing goes on; TCP sends it again if it matters */
	VERDICT_PASS,   /* goes on as it is (as modified), the state of its connection unchanged */
	VERDICT_VERIFIED, /* goes on, and the kernel forwards the connection from now on */
	VERDICT_PENDING,  /* goes on, but the payload check is still to come */
	VERDICT_DELIVER,  /* goes on, the payload check was passed; the connection is verified once
			     the server has all that was held back */
	VERDICT_RESET, /* goes on as the RST that the packet was turned into; the other side gets an
			  RST of our own, and the connection is forgotten */
	VERDICT_LOOKUP, /* protect: only conntrack knows whether its connection is verified */
	VERDICT_COUNT
};

/* Something to tell the administrator beside the verdict; bits. */
enum alarm {
	ALARM_SOURCE = 1,       /* a source prefix has exceeded its limit of failed tokens */
	ALARM_SERVICE = 2,      /* a service has */
	ALARM_REPLAY_TABLE = 4, /* tokens are forgotten before their time */
};

struct service;
struct key;
struct destination;

struct decision {
	enum verdict verdict;
	enum reason reason;
	bool modified;       /* the packet's bytes changed: give them back to the kernel */
	unsigned int alarms; /* enum alarm */
	const struct service *service;         /* protect, when known */
	const struct key *key;                 /* the key that fits, when one does */
	const struct destination *destination; /* egress, when known */
	uint32_t peer_sequence; /* VERDICT_RESET: what the sender of the packet expects next, the
				   sequence number of the RST that it gets */
	bool keep_entry;        /* VERDICT_RESET: the kernel shall not forget the connection yet */
};

/* "accept", "pending", "drop", "reject": the words of logs and JSON. */
const char *verdict_word(enum verdict verdict);

/* Each of these words once; NULL behind the last. */
const char *verdict_word_at(unsigned int index);

#endif
