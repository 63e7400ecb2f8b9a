/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "egress_worker.h"

#include <linux/netfilter.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "core/egress.h"
#include "core/flow.h"
#include "core/packet.h"
#include "log.h"

/* A piece of the flow table is counted ten times a second at most. */
enum { CENSUS_INTERVAL = 100, CENSUS_SLOTS = 16384 };

struct egress_worker {
	const struct egress_setup *setup;
	struct egress *engine;
	struct table *flows;
	unsigned int number;
	struct egress_counters counters;
};

struct egress_worker *egress_worker_new(const struct egress_setup *setup, unsigned int number,
					struct table *flows)
{
	struct egress_worker *egress = calloc(1, sizeof(*egress));

	if (egress == NULL)
		return NULL;
	egress->setup = setup;
	egress->number = number;
	egress->flows = flows;
	atomic_init(&egress->counters.flows, table_count(flows));
	egress->engine = egress_new(flows);
	if (egress->engine != NULL)
		return egress;
	free(egress);
	return NULL;
}

void egress_worker_free(struct egress_worker *egress)
{
	if (egress == NULL)
		return;
	egress_free(egress->engine);
	free(egress);
}

const struct egress_counters *egress_worker_counters(const struct egress_worker *egress)
{
	return &egress->counters;
}

void egress_counters_take(struct egress_counters *counters, struct table *flows,
			  unsigned int (*state_number)(const void *value), uint64_t now)
{
	atomic_store_explicit(&counters->flows, table_count(flows), memory_order_relaxed);
	if (now - counters->counted < CENSUS_INTERVAL)
		return;
	counters->counted = now;
	flow_census_step(&counters->census, flows, state_number, CENSUS_SLOTS);
}

/* Before conntrack, or behind SNAT: that tells the direction. */
static bool from_wire(const struct queue_packet *queued)
{
	return queued->hook == NF_INET_PRE_ROUTING || queued->hook == NF_INET_LOCAL_IN;
}

static void log_segment(struct egress_worker *egress, const struct tuple *tuple,
			const struct decision *decision)
{
	const char *name = decision->destination != NULL ? decision->destination->name : "-";
	enum log_level level = LOG_LEVEL_DEBUG;
	const char *event = "translated";
	char source[ENDPOINT_TEXT_SIZE];
	char destination[ENDPOINT_TEXT_SIZE];

	if (decision->reason == REASON_TABLE_FULL) {
		level = LOG_LEVEL_WARNING;
		event = "refused";
	} else if (decision->reason == REASON_SIGNED_SEGMENT &&
		   !atomic_exchange(egress->setup->warned_of_signature, true)) {
		level = LOG_LEVEL_WARNING;
		event = "untranslated";
	} else if (decision->reason == REASON_TRUNCATED ||
		   decision->reason == REASON_CONFIGURATION_CHANGED) {
		event = "dropped";
	} else if (decision->reason != REASON_TOKEN_WRITTEN) {
		return;
	}
	if (!log_enabled(level))
		return;
	log_event(level, event, "egress=%s source=%s destination=%s reason=%s", name,
		  endpoint_format(&tuple->source, source),
		  endpoint_format(&tuple->destination, destination), reason_word(decision->reason));
}

/* Gives a packet back. What goes out translated may carry a mark, which "egress_keep" moves to the
 * connection; what comes in leaves the mark alone, since it is not ours there. */
static void carry_out(struct egress_worker *egress, struct worker *worker,
		      const struct queue_packet *queued, const struct packet *packet,
		      const struct decision *decision)
{
	const struct marks *marks = &egress->setup->marks;
	uint32_t mark = queued->mark & ~marks->mask;
	bool marked = worker_generation(worker)->set_marks && !from_wire(queued);

	struct tally *tally = decision->destination != NULL ? decision->destination->tally
							    : egress->setup->unknown;

	tally_count(tally, egress->number, decision->verdict, decision->reason);
	if (decision->verdict == VERDICT_DROP) {
		queue_verdict(worker_queue(worker), queued->id, NF_DROP, NULL, NULL, 0);
		return;
	}
	if (decision->verdict == VERDICT_VERIFIED)
		mark |= marks->verified;
	queue_verdict(worker_queue(worker), queued->id, NF_ACCEPT, marked ? &mark : NULL,
		      decision->modified ? packet->bytes : NULL,
		      decision->modified ? packet->length : 0);
	/* The engine's own memory is good for one packet only. */
	if (decision->modified && packet->bytes != queued->payload)
		queue_flush(worker_queue(worker));
}

bool egress_hand_on(const struct egress_shard *own, struct worker *worker,
		    struct egress_counters *counters, const struct queue_packet *queued,
		    uint16_t client_port, uint32_t flags)
{
	unsigned int shard = flow_shard(client_port, own->count);

	if (shard == own->number)
		return false;
	counter_add(&counters->handed_on, 1);
	queue_verdict(worker_queue(worker), queued->id,
		      NF_QUEUE_NR(own->first_queue + shard) | flags, NULL, NULL, 0);
	return true;
}

static bool hand_on(struct egress_worker *egress, struct worker *worker,
		    const struct queue_packet *queued, uint16_t client_port, uint32_t flags)
{
	const struct egress_setup *setup = egress->setup;
	const struct egress_shard own = {setup->first_queue, setup->count, egress->number};

	return egress_hand_on(&own, worker, &egress->counters, queued, client_port, flags);
}

static void translate_error(struct egress_worker *egress, struct worker *worker,
			    const struct queue_packet *queued, struct packet *packet)
{
	struct icmp_quote quote;
	struct decision decision = {.verdict = VERDICT_PASS};

	decision.reason = icmp_quote_parse(&quote, packet);
	if (decision.reason == REASON_NONE) {
		if (hand_on(egress, worker, queued,
			    from_wire(queued) ? quote.tuple.source.port
					      : quote.tuple.destination.port,
			    NF_VERDICT_FLAG_QUEUE_BYPASS))
			return;
		if (from_wire(queued))
			egress_quote_from_wire(egress->engine, &quote, &decision);
		else
			egress_quote_to_wire(egress->engine, &quote, &decision);
	}
	carry_out(egress, worker, queued, packet, &decision);
}

static void translate_segment(struct egress_worker *egress, struct worker *worker,
			      const struct queue_packet *queued, struct segment *segment)
{
	const struct destination_table *destinations = worker_generation(worker)->destinations;
	struct tuple tuple = segment->tuple;
	struct decision decision;

	if (hand_on(egress, worker, queued,
		    from_wire(queued) ? tuple.destination.port : tuple.source.port, 0))
		return;
	if (from_wire(queued))
		egress_from_server(egress->engine, destinations, segment, worker_time(worker),
				   &decision);
	else
		egress_from_client(egress->engine, destinations, segment, worker_time(worker),
				   &decision);
	log_segment(egress, &tuple, &decision);
	carry_out(egress, worker, queued, segment->packet, &decision);
}

static void translate_packet(void *context, struct worker *worker, struct queue_packet *queued)
{
	struct egress_worker *egress = context;
	struct packet packet;
	struct segment segment;
	enum reason reason = packet_parse(&packet, queued->payload, queued->length);

	packet.checksum_ready = !queued->checksum_not_ready;
	/* Behind postrouting it can only go to a device, and what is written back no device splits
	 * up: tcp_gso_segment does, and computes checksums from scratch. What comes in may end in a
	 * local socket, and conntrack looks at its checksum before that. */
	packet.checksum_later = queued->unsegmented && !from_wire(queued);
	if (reason == REASON_NONE &&
	    (packet.protocol == PROTOCOL_ICMP || packet.protocol == PROTOCOL_ICMPV6)) {
		translate_error(egress, worker, queued, &packet);
		return;
	}
	if (reason == REASON_NONE)
		reason = segment_parse(&segment, &packet);
	if (reason == REASON_NONE) {
		translate_segment(egress, worker, queued, &segment);
		return;
	}
	const struct decision decision = {.verdict = VERDICT_PASS, .reason = reason};
	carry_out(egress, worker, queued, &packet, &decision);
}

static uint64_t tick(void *context, struct worker *worker)
{
	struct egress_worker *egress = context;

	egress_expire(egress->engine, worker_time(worker));
	egress_counters_take(&egress->counters, egress->flows, flow_state_number,
			     worker_time(worker));
	return UINT64_MAX;
}

struct worker_callbacks egress_worker_callbacks(struct egress_worker *egress)
{
	return (struct worker_callbacks){
		.packet = translate_packet, .tick = tick, .context = egress};
}
