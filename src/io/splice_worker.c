/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "splice_worker.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "core/flow.h"
#include "core/icmp_quote.h"
#include "core/packet.h"
#include "core/secret.h"
#include "inject.h"
#include "log.h"

struct splice_worker {
	const struct splice_setup *setup;
	struct splice *engine;
	struct table *flows;
	struct inject *inject;
	struct worker *worker; /* during a callback */
	bool ticking;          /* by itself, not about a packet */
	unsigned int number;
	uint64_t generation; /* whose limits the engine has */
	struct egress_counters counters;
};

static struct splice *make_engine(const struct splice_setup *setup, struct table *flows)
{
	uint8_t random_key[16];

	if (getrandom(random_key, sizeof(random_key), 0) != sizeof(random_key))
		return NULL;
	struct splice *engine =
		splice_new(flows, setup->promises, &setup->limits, random_key, worker_now());
	secret_wipe(random_key, sizeof(random_key));
	if (engine == NULL)
		errno = ENOMEM;
	return engine;
}

struct splice_worker *splice_worker_new(const struct splice_setup *setup, unsigned int number,
					struct table *flows)
{
	struct splice_worker *splice = calloc(1, sizeof(*splice));

	if (splice == NULL)
		return NULL;
	splice->setup = setup;
	splice->number = number;
	splice->flows = flows;
	atomic_init(&splice->counters.flows, table_count(flows));
	splice->engine = make_engine(setup, flows);
	if (splice->engine != NULL)
		splice->inject = inject_open(setup->egress->marks.verified);
	if (splice->inject != NULL)
		return splice;
	int error = errno;
	splice_worker_free(splice);
	errno = error;
	return NULL;
}

void splice_worker_free(struct splice_worker *splice)
{
	if (splice == NULL)
		return;
	splice_free(splice->engine);
	inject_close(splice->inject);
	free(splice);
}

const struct egress_counters *splice_worker_counters(const struct splice_worker *splice)
{
	return &splice->counters;
}

static const struct destination *destination_of(const struct splice_worker *splice,
						const struct endpoint *server)
{
	return destination_table_find(worker_generation(splice->worker)->destinations, server);
}

static void tally(const struct splice_worker *splice, const struct destination *destination,
		  enum verdict verdict, enum reason reason)
{
	tally_count(destination != NULL ? destination->tally : splice->setup->egress->unknown,
		    splice->setup->first_number + splice->number, verdict, reason);
}

static void log_fate(const struct destination *destination, const struct tuple *tuple,
		     enum log_level level, const char *event, enum reason reason)
{
	char source[ENDPOINT_TEXT_SIZE];
	char server[ENDPOINT_TEXT_SIZE];

	if (log_enabled(level))
		log_event(level, event, "egress=%s source=%s destination=%s reason=%s",
			  destination != NULL ? destination->name : "-",
			  endpoint_format(&tuple->source, source),
			  endpoint_format(&tuple->destination, server), reason_word(reason));
}

/* What the administrator can do something about is a warning. */
static void log_reason(struct splice_worker *splice, const struct destination *destination,
		       const struct tuple *tuple, enum reason reason)
{
	switch (reason) {
	case REASON_TOKEN_WRITTEN:
		log_fate(destination, tuple, LOG_LEVEL_DEBUG, "translated", reason);
		break;
	case REASON_TABLE_FULL:
		log_fate(destination, tuple, LOG_LEVEL_WARNING, "refused", reason);
		break;
	case REASON_PAYLOAD_TOO_LONG:
		log_fate(destination, tuple, LOG_LEVEL_WARNING, "given-up", reason);
		break;
	case REASON_CLIENT_GONE:
		log_fate(destination, tuple, LOG_LEVEL_DEBUG, "given-up", reason);
		break;
	case REASON_COLLECT_TIMEOUT:
	case REASON_CONFIGURATION_CHANGED:
	case REASON_SERVER_REFUSED:
	case REASON_SERVER_UNREACHABLE:
	case REASON_SERVER_SILENT:
	case REASON_PROMISE_BROKEN:
	case REASON_STOPPED:
		log_fate(destination, tuple, LOG_LEVEL_INFO, "given-up", reason);
		break;
	case REASON_SIGNED_SEGMENT:
		if (!atomic_exchange(splice->setup->egress->warned_of_signature, true))
			log_fate(destination, tuple, LOG_LEVEL_WARNING, "untranslated", reason);
		break;
	default:
		break;
	}
}

/* What the engine does by itself is counted here; the rest is the fate of a packet. */
static void note_emission(struct splice_worker *splice, const struct emission *emission)
{
	const struct destination *destination;

	if (emission->kind != EMIT_RELEASE_HELD &&
	    !(splice->ticking && emission->kind == EMIT_TO_CLIENT))
		return;
	destination = destination_of(splice, &emission->tuple.destination);
	tally(splice, destination,
	      emission->kind == EMIT_RELEASE_HELD ? VERDICT_VERIFIED : VERDICT_DROP,
	      emission->reason);
	log_reason(splice, destination, &emission->tuple, emission->reason);
}

static void send_packet(struct splice_worker *splice, const struct emission *emission)
{
	char source[ENDPOINT_TEXT_SIZE];
	char server[ENDPOINT_TEXT_SIZE];

	if (inject_packet(splice->inject, emission->bytes, emission->length) == 0)
		return;
	/* It is as if the network had lost it: what matters is sent again. */
	log_event(LOG_LEVEL_WARNING, "not-sent",
		  "source=%s destination=%s to=%s length=%zu reason=\"%s\"",
		  endpoint_format(&emission->tuple.source, source),
		  endpoint_format(&emission->tuple.destination, server),
		  emission->kind == EMIT_TO_CLIENT ? "client" : "server", emission->length,
		  strerror(errno));
}

static void emit(void *context, const struct emission *emission)
{
	struct splice_worker *splice = context;
	struct queue *queue = worker_queue(splice->worker);

	note_emission(splice, emission);
	switch (emission->kind) {
	case EMIT_RELEASE_HELD:
		queue_verdict(queue, emission->packet_id, NF_ACCEPT, NULL, emission->bytes,
			      emission->length);
		queue_flush(queue); /* the bytes are good for this call only */
		break;
	case EMIT_DROP_HELD:
		queue_verdict(queue, emission->packet_id, NF_DROP, NULL, NULL, 0);
		break;
	default:
		send_packet(splice, emission);
		break;
	}
}

/* Gives a packet back, without the mark that told where it came from. */
static void give_back(struct splice_worker *splice, const struct queue_packet *queued,
		      const struct packet *packet, const struct decision *decision)
{
	struct queue *queue = worker_queue(splice->worker);
	uint32_t mark = queued->mark & ~splice->setup->egress->marks.mask;

	tally(splice, decision->destination, decision->verdict, decision->reason);
	if (decision->verdict == VERDICT_DROP)
		queue_verdict(queue, queued->id, NF_DROP, NULL, NULL, 0);
	else
		queue_verdict(queue, queued->id, NF_ACCEPT, &mark,
			      decision->modified ? packet->bytes : NULL,
			      decision->modified ? packet->length : 0);
}

static bool from_server(const struct splice_worker *splice, const struct queue_packet *queued)
{
	const struct marks *marks = &splice->setup->egress->marks;

	return (queued->mark & marks->mask) == marks->pending;
}

static bool hand_on(struct splice_worker *splice, const struct queue_packet *queued,
		    const struct endpoint *client, uint32_t flags)
{
	const struct splice_setup *setup = splice->setup;
	const struct egress_shard own = {setup->first_queue, setup->count, splice->number};

	return egress_hand_on(&own, splice->worker, &splice->counters, queued, client->port, flags);
}

/* A SYN to a destination that a reload has taken out of integrity mode: the rules lead it on to
 * authentication mode, but not before they are those of that reload. */
static bool has_way(const struct splice_worker *splice, const struct destination *destination,
		    const struct segment *segment)
{
	return destination == NULL || destination->integrity > 0 ||
	       !segment_is_initial_syn(segment) ||
	       atomic_load(splice->setup->ruled) == worker_generation(splice->worker)->number;
}

static void splice_segment(struct splice_worker *splice, const struct queue_packet *queued,
			   struct segment *segment)
{
	const struct splice_output output = {.emit = emit, .context = splice};
	uint64_t now = worker_time(splice->worker);
	struct tuple tuple = segment->tuple;
	const struct destination *destination;
	struct splice_result result;
	bool server = from_server(splice, queued);

	/* From here on the client's side of it, whoever sent the segment. */
	if (server)
		tuple = tuple_reverse(&tuple);
	if (hand_on(splice, queued, &tuple.source, 0))
		return;
	destination = destination_of(splice, &tuple.destination);
	if (server) {
		splice_from_server(splice->engine, segment, now, &output, &result);
	} else {
		splice_from_client(splice->engine, destination, segment, queued->id, now, &output,
				   &result);
	}
	if (!server && result.decision.reason == REASON_FLOW_UNKNOWN &&
	    !has_way(splice, destination, segment)) {
		result.decision.verdict = VERDICT_DROP;
		result.decision.reason = REASON_CONFIGURATION_CHANGED;
	}
	result.decision.destination = destination;
	log_reason(splice, destination, &tuple, result.decision.reason);
	if (result.hold) {
		tally(splice, destination, result.decision.verdict, result.decision.reason);
		return;
	}
	/* What is written back to the kernel is never completed by a device. */
	if (result.decision.modified && !segment->packet->checksum_ready)
		segment_complete_checksum(segment);
	give_back(splice, queued, segment->packet, &result.decision);
}

/* An error about a client's segment quotes the server's view of it; one about a server's segment
 * the client's. Each is turned where the quoted segment was turned itself: so what goes to a client
 * is looked at behind NAT, or where this host sends it, and what goes to a server before that. */
static void translate_quote(struct splice_worker *splice, const struct queue_packet *queued,
			    struct icmp_quote *quote, struct decision *decision)
{
	bool local = queued->hook == NF_INET_LOCAL_OUT;
	bool behind = from_server(splice, queued);
	struct tuple reverse = tuple_reverse(&quote->tuple);
	const struct splice_output output = {.emit = emit, .context = splice};
	struct splice_deltas deltas;

	decision->reason = REASON_QUOTE_FOREIGN;
	splice->ticking = true;
	if ((local || behind) && icmp_quote_ends_attempt(quote))
		splice_unreachable(splice->engine, &quote->tuple, quote->sequence,
				   worker_time(splice->worker), &output);
	splice->ticking = false;
	if ((local || behind) && splice_deltas(splice->engine, &quote->tuple, &deltas)) {
		icmp_quote_set_sequence(quote, quote->sequence - deltas.client);
		icmp_quote_set_acknowledgement(quote, quote->acknowledgement + deltas.server);
	} else if (!behind && splice_deltas(splice->engine, &reverse, &deltas)) {
		icmp_quote_set_sequence(quote, quote->sequence - deltas.server);
		icmp_quote_set_acknowledgement(quote, quote->acknowledgement + deltas.client);
	} else {
		return;
	}
	decision->reason = REASON_QUOTE_TRANSLATED;
	decision->modified = true;
}

static void splice_error(struct splice_worker *splice, const struct queue_packet *queued,
			 struct packet *packet)
{
	struct decision decision = {.verdict = VERDICT_PASS};
	struct icmp_quote quote;

	decision.reason = icmp_quote_parse(&quote, packet);
	if (decision.reason == REASON_NONE) {
		bool about_client = destination_of(splice, &quote.tuple.destination) != NULL;
		if (hand_on(splice, queued,
			    about_client ? &quote.tuple.source : &quote.tuple.destination,
			    NF_VERDICT_FLAG_QUEUE_BYPASS))
			return;
		translate_quote(splice, queued, &quote, &decision);
	}
	give_back(splice, queued, packet, &decision);
}

/* Called before anything else. */
static void begin(struct splice_worker *splice, struct worker *worker)
{
	const struct generation *generation = worker_generation(worker);

	splice->worker = worker;
	if (splice->generation == generation->number)
		return;
	splice->generation = generation->number;
	if (!splice_use_limits(splice->engine, &generation->config->integrity))
		log_event(LOG_LEVEL_ERROR, "memory-short",
			  "reason=\"no room for integrity = %u and more: such connections are "
			  "refused\"",
			  generation->config->integrity.buffer_size);
}

static void take_packet(void *context, struct worker *worker, struct queue_packet *queued)
{
	struct splice_worker *splice = context;
	struct packet packet;
	struct segment segment;
	enum reason reason = packet_parse(&packet, queued->payload, queued->length);

	begin(splice, worker);
	packet.checksum_ready = !queued->checksum_not_ready;
	if (reason == REASON_NONE &&
	    (packet.protocol == PROTOCOL_ICMP || packet.protocol == PROTOCOL_ICMPV6)) {
		splice_error(splice, queued, &packet);
		return;
	}
	if (reason == REASON_NONE)
		reason = segment_parse(&segment, &packet);
	if (reason == REASON_NONE) {
		splice_segment(splice, queued, &segment);
		return;
	}
	const struct decision decision = {.verdict = VERDICT_PASS, .reason = reason};
	give_back(splice, queued, &packet, &decision);
}

static uint64_t tick(void *context, struct worker *worker)
{
	struct splice_worker *splice = context;
	const struct splice_output output = {.emit = emit, .context = splice};

	begin(splice, worker);
	splice->ticking = true;
	uint64_t due = splice_tick(splice->engine, worker_time(worker), &output);
	splice->ticking = false;
	egress_counters_take(&splice->counters, splice->flows, splice_state_number,
			     worker_time(worker));
	return due;
}

/* The next daemon would not know the bytes that were collected. */
static void finish(void *context, struct worker *worker)
{
	struct splice_worker *splice = context;
	const struct splice_output output = {.emit = emit, .context = splice};

	begin(splice, worker);
	splice->ticking = true;
	splice_end_halves(splice->engine, worker_time(worker), &output);
	splice->ticking = false;
	egress_counters_take(&splice->counters, splice->flows, splice_state_number,
			     worker_time(worker));
}

struct worker_callbacks splice_worker_callbacks(struct splice_worker *splice)
{
	return (struct worker_callbacks){
		.packet = take_packet,
		.tick = tick,
		.finish = finish,
		.context = splice,
		.held_max = splice->setup->limits.half_made,
	};
}
