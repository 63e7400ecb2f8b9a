/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Drives the protect engine from a capture: stands in for the kernel's part, which forwards
 * verified connections without asking and forgets those that failed. Pure; knockctl replay is its
 * edge. */
#ifndef KNOCKGW_CORE_REPLAY_H
#define KNOCKGW_CORE_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "guards.h"
#include "moment.h"
#include "packet.h"
#include "service.h"
#include "verdict.h"

struct replay;

/* What came of all connections, a connection being a distinct client tuple and ISN. */
struct replay_summary {
	uint64_t connections;
	uint64_t opened;       /* authorised: by the SYN, in integrity mode by the payload */
	uint64_t pending;      /* SYN right, payload never judged */
	uint64_t refused_syn;  /* the ISN was no token */
	uint64_t refused_data; /* SYN right, payload wrong or too short */
};

/* services must outlive the replay. capacity: as for protect_new. Returns NULL when memory is
 * short.
 */
struct replay *replay_new(const struct service_table *services, uint32_t capacity);
/* Applies limits and replay protection as well, see protect_use_guards. */
void replay_use_guards(struct replay *replay, struct guards *guards);
void replay_free(struct replay *replay);

/* Reads a captured packet. A checksum that its sender has left to the device counts as right:
 * nobody has computed it yet. Returns false for what is no TCP segment that can be read. */
bool replay_read(struct packet *packet, struct segment *segment, uint8_t *bytes, size_t length);

/* Judges a segment as the daemon would, at the time of the capture. Returns false
 * when the daemon would not be asked: no service, or a verified connection. */
bool replay_segment(struct replay *replay, struct segment *segment, struct moment now,
		    struct decision *decision);

struct replay_summary replay_summary(const struct replay *replay);

/* "syn", "data" or "other". */
const char *replay_kind(const struct segment *segment);

#endif
