/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The first bytes of a connection, from when they come until the server has acknowledged them.
 *
 * In one segment they are checked at once and go on in the client's own segment. That may be lost
 * or thrown away behind us, so they are kept: nothing else may take their place.
 *
 * In several segments (reassemble = true) they are held back until the check. Until then the bytes
 * are held back. A client that waits for an acknowledgement before it sends more (Nagle's
 * algorithm, a full congestion window) gets one from us after a short delay; what we acknowledged
 * it will not send again, so it is then ours to deliver. After the check all of it goes to the
 * server, again and again until the server has acknowledged every byte of the check and every byte
 * that we did. Pure. */
#ifndef KNOCKGW_CORE_HOLD_H
#define KNOCKGW_CORE_HOLD_H

#include "packet.h"
#include "protect_action.h"
#include "reassemble.h"

/* What a server said of itself, from its segments to the client. */
struct server_view {
	uint32_t first;  /* its first sequence number behind the SYN+ACK */
	uint32_t next;   /* its next sequence number */
	uint32_t tsval;  /* of its latest segment */
	uint32_t window; /* in bytes, of its latest segment; 0 before it has said anything */
	uint16_t mss;    /* of its SYN+ACK; 0: it had none */
	uint8_t shift;   /* its window scale */
	bool answered;   /* there was a SYN+ACK; all else means nothing before */
};

/* Of a SYN+ACK, or of what follows one. */
void server_view_update(struct server_view *server, const struct segment *segment);

/* Whether a client may acknowledge up to that number. */
bool server_view_has_said(const struct server_view *server, uint32_t acknowledgement);

/* Whether a server that knows nothing of the connection, and uses SYN cookies, could take a segment
 * for the end of the handshake, and begin the stream behind ISN + 1. isn: of the client. Linux adds
 * the ISN to the cookie (secure_tcp_syn_cookie()), so what matters is how far both numbers are
 * off, and one of four values of the MSS hides in it. */
bool server_view_begins_late(const struct server_view *server, uint32_t isn, uint32_t sequence,
			     uint32_t acknowledgement);

/* The latest acknowledgement, up to the given one, with which a segment does not begin late. Near
 * ISN + 1 there may be none: then the given one. */
uint32_t server_view_step_back(const struct server_view *server, uint32_t isn, uint32_t sequence,
			       uint32_t acknowledgement);

struct hold {
	struct tuple tuple; /* client -> service */
	uint32_t isn;
	uint32_t required; /* bytes of the check */
	struct reassembly stream;
	struct server_view server;
	/* the client; offsets count from its first payload byte */
	uint32_t acknowledgement;        /* its latest */
	uint32_t passed_acknowledgement; /* what the server got of that */
	uint32_t tsval;
	uint32_t tsecr;
	uint32_t acknowledged; /* offset that we told it */
	uint32_t end;          /* offset of its FIN; UINT32_MAX: none yet */
	uint16_t window;       /* as it stands in its header */
	bool timestamps;
	/* the server */
	bool checked;       /* the bytes were right and are on their way */
	bool forwarded;     /* in the client's own segment, and it sends them again if need be */
	uint32_t sent;      /* offset up to which they were sent */
	uint32_t delivered; /* offset that the server acknowledged */
	uint32_t transmissions;
	uint32_t interval; /* of retransmissions, doubling */
	uint64_t due;      /* next acknowledgement or retransmission; UINT64_MAX: none */
};

/* How many bytes of a stream are taken, when so many are required. */
uint32_t hold_room(uint32_t required);

/* Starts with the first segment, which is not yet taken in. Returns false when memory is short. */
bool hold_open(struct hold *hold, const struct segment *segment, uint32_t isn, uint32_t required,
	       const struct server_view *server);
/* The same with a segment that has all bytes of the check, that were right, and that goes on. */
bool hold_open_checked(struct hold *hold, const struct segment *segment, uint32_t isn,
		       uint32_t required, const struct server_view *server);
void hold_close(struct hold *hold);

/* Notes acknowledgement, window and timestamps of a client's segment. */
void hold_note_client(struct hold *hold, const struct segment *segment);

enum hold_result {
	HOLD_OUTSIDE,  /* not from where we hold bytes */
	HOLD_WAITING,  /* taken, more is to come */
	HOLD_COMPLETE, /* all bytes of the check are there */
	HOLD_ENDED,    /* the client has ended before that */
};

/* Takes in payload and FIN of a client's segment. */
enum hold_result hold_collect(struct hold *hold, const struct segment *segment, uint64_t now,
			      const struct protect_output *output);

/* The bytes were right: sends them. Returns whether the segment that completed them may go on as it
 * is; what it carries is then not sent by us. */
bool hold_deliver(struct hold *hold, const struct segment *segment, uint64_t now,
		  const struct protect_output *output);

/* Whether a client's segment has something else, or an end, in the place of checked bytes. */
bool hold_contradicts(const struct hold *hold, const struct segment *segment);

/* The server acknowledged everything up to that sequence number. Returns true when our duty is
 * done. */
bool hold_acknowledged(struct hold *hold, uint32_t acknowledgement, uint64_t now,
		       const struct protect_output *output);

/* Acknowledges or retransmits when it is time. */
void hold_tick(struct hold *hold, uint64_t now, const struct protect_output *output);

/* What the server expects next. */
uint32_t hold_server_expects(const struct hold *hold);

#endif
