/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The splice engine between a model of a client and a model of a server that judges as Knock does,
 * over a network that loses packets:
 *
 *     client ---- 3 ms ---- engine ---- 10 ms ---- server
 */
#ifndef KNOCKGW_TESTS_SPLICE_WORLD_H
#define KNOCKGW_TESTS_SPLICE_WORLD_H

#include "core/splice.h"
#include "splice_peer.h"
#include "support.h"

enum {
	CAPACITY = 64,
	START = 5000000,
	TO_ENGINE = 3,
	TO_SERVER = 10,
	FLYING_MAX = 96,
	INTEGRITY = 100,
	MINUTE = 60000,
};

enum leg { CLIENT_TO_ENGINE, ENGINE_TO_CLIENT, ENGINE_TO_SERVER, SERVER_TO_ENGINE };

struct flying {
	bool used;
	enum leg leg;
	uint64_t arrives;
	uint64_t order;
	size_t length;
	uint8_t bytes[PEER_PACKET_MAX];
};

extern struct key key;
extern struct destination destination;
extern const struct peer_settings usual;

struct world {
	uint64_t now;
	uint64_t random;
	unsigned int loss;                    /* of 1000 */
	const struct destination *configured; /* what a look-up finds now */
	bool deaf;                            /* the server hears nothing */
	bool refuses;
	void *memory;
	struct table *flows;
	struct promise_cache *promises;
	struct splice_limits limits;
	struct splice *engine;
	struct splice_output output;
	struct peer client, server;
	struct flying flying[FLYING_MAX];
	uint64_t order;
	bool holding;
	uint32_t packet_id, held_id;
	unsigned int emissions[4];
	unsigned int reasons[REASON_COUNT];
};

extern struct world world;

/* Puts a packet on its way. */
void launch(enum leg leg, const uint8_t *bytes, size_t length);
/* What the engine emits goes through here. */
void note_emission(void *context, const struct emission *emission);
/* Lets so much time pass. */
void run(uint64_t milliseconds);
bool both_done(void);
bool client_was_reset(void);
bool server_established(void);
struct splice_flow *the_flow(void);
bool connecting(void);
bool delivering(void);
bool joined(void);
/* Lets time pass until the condition holds, which must be before the limit. Returns how much. */
uint64_t run_until(bool (*condition)(void), uint64_t limit);
/* Both sides anew, with these settings. */
void make_peers(const struct peer_settings *client, const struct peer_settings *server, bool ipv6);
/* An engine as of another worker: nothing is known but what servers negotiated last time. */
void next_engine(void);
/* An engine as of another process. */
void new_engine(void);
/* Of the client's flow; "none" without one. */
const char *state(void);
/* Each side has got what the other one sent. */
void check_streams(void);
/* A whole connection, from the SYN until both sides have closed. */
void exchange(void);
/* A connection at one of five stages: collecting, connecting, delivering, draining, joined. */
void reach(int stage);
/* Gives the engine one segment of our own making and returns what it decides. */
struct splice_result give(const struct segment_plan *plan, const struct destination *to);
/* As the next process finds the table in its file. */
void attach_again(void);

/* A case of the name whose tests each begin with new_engine. */
TCase *make_case(const char *name);

#endif
