/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "protect_worker.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <stdlib.h>
#include <sys/random.h>

#include "conntrack.h"
#include "core/packet.h"
#include "inject.h"
#include "log.h"

struct protect_worker {
	const struct protect_setup *setup;
	unsigned int number;
	const struct service_table *services; /* of the current batch */
	struct protect *engine;
	struct conntrack *conntrack;
	struct inject *inject;
	struct protect_counters counters;
};

static void act(void *context, const struct protect_action *action);

struct protect_worker *protect_worker_new(const struct protect_setup *setup, unsigned int number)
{
	uint8_t hash_key[16];
	struct protect_worker *protect = calloc(1, sizeof(*protect));
	const struct protect_options options = {
		.capacity = setup->capacity,
		.holds = setup->holds,
		.output = {.act = act, .context = protect},
	};

	if (protect == NULL)
		return NULL;
	protect->setup = setup;
	protect->number = number;
	if (getrandom(hash_key, sizeof(hash_key), 0) == (ssize_t)sizeof(hash_key))
		protect->engine = protect_new(&options, hash_key, worker_now());
	protect->conntrack = conntrack_open();
	if (protect->engine != NULL)
		protect_use_guards(protect->engine, setup->guards);
	/* Both bits: no connection that we answer for has this mark, so a rule that copies the mark
	 * of a connection to its packets cannot make others look like ours. */
	protect->inject = inject_open(setup->marks.refused);
	if (protect->engine != NULL && protect->conntrack != NULL && protect->inject != NULL)
		return protect;
	int error = errno;
	protect_worker_free(protect);
	errno = error;
	return NULL;
}

void protect_worker_free(struct protect_worker *protect)
{
	if (protect == NULL)
		return;
	protect_free(protect->engine);
	conntrack_close(protect->conntrack);
	inject_close(protect->inject);
	free(protect);
}

const struct protect_counters *protect_worker_counters(const struct protect_worker *protect)
{
	return &protect->counters;
}

/* The last acknowledgement may stand in a FIN that comes once more; then LAST_ACK stays. */
static enum connection_state state_of(const struct conntrack_entry *entry)
{
	switch (entry->state) {
	case TCP_CONNTRACK_LAST_ACK:
	case TCP_CONNTRACK_TIME_WAIT:
		return CONNECTION_ENDING;
	case TCP_CONNTRACK_CLOSE:
		return CONNECTION_ENDED;
	default:
		return CONNECTION_VERIFIED;
	}
}

/* Returns false when the kernel did not answer. */
static bool look_up(struct protect_worker *protect, const struct tuple *tuple,
		    enum connection_state *state)
{
	const struct marks *marks = &protect->setup->marks;
	struct conntrack_entry entry;
	int found = conntrack_lookup(protect->conntrack, tuple, &entry);

	*state = CONNECTION_UNKNOWN;
	if (found < 0)
		counter_add(&protect->counters.failed_lookups, 1);
	else if (found > 0 && (entry.mark & marks->mask) == marks->verified)
		*state = state_of(&entry);
	else if (found > 0 && (entry.mark & marks->mask) == marks->pending)
		*state = CONNECTION_PENDING;
	return found >= 0;
}

/* An authorised SYN on a tuple that conntrack knows already. NAT was settled by its first packet,
 * so an entry of a refused attempt would lead to the decoy: it goes away, and so does this SYN; the
 * client's next one a second later meets a new entry. */
static void clear_leftover(struct protect_worker *protect, const struct tuple *tuple)
{
	conntrack_delete(protect->conntrack, tuple);
	counter_add(&protect->counters.leftovers, 1);
}

static void resolve(struct protect_worker *protect, struct segment *segment, struct moment now,
		    struct decision *decision)
{
	const struct tuple tuple = segment->tuple;
	bool syn = segment_is_initial_syn(segment);
	enum connection_state state;
	bool answered = look_up(protect, &tuple, &state);

	if (answered && syn && state == CONNECTION_UNKNOWN)
		clear_leftover(protect, &tuple);
	protect_resolve(protect->engine, segment, state, now, decision);
}

/* What a server has agreed to must be checked: the client must not hear of it before the kernel
 * knows. client: the tuple of the client's direction. */
static void set_pending(struct protect_worker *protect, struct queue *queue,
			const struct tuple *client, struct decision *decision)
{
	const struct marks *marks = &protect->setup->marks;

	/* What was judged before may be about to set the mark, too. */
	queue_flush(queue);
	if (conntrack_mark(protect->conntrack, client, marks->pending, marks->mask) == 0)
		return;
	counter_add(&protect->counters.failed_lookups, 1);
	decision->verdict = VERDICT_DROP;
}

/* The mark under which a packet leaves the queue: "settle" moves it to the connection. */
static uint32_t mark_of(const struct marks *marks, uint32_t mark, enum verdict verdict)
{
	uint32_t others = mark & ~marks->mask;

	switch (verdict) {
	case VERDICT_VERIFIED:
	case VERDICT_PASS:
		return others | marks->verified;
	case VERDICT_PENDING:
	case VERDICT_DELIVER:
	case VERDICT_RESET:
		return others | marks->pending;
	default:
		return others;
	}
}

static void log_decision(const struct protect_worker *protect, const struct queue_packet *queued,
			 const struct segment *segment, const struct decision *decision)
{
	static const char *const events[] = {
		[VERDICT_CLOSED] = "refused",   [VERDICT_DROP] = "dropped",
		[VERDICT_PASS] = "passed",      [VERDICT_VERIFIED] = "verified",
		[VERDICT_PENDING] = "pending",  [VERDICT_RESET] = "reset",
		[VERDICT_LOOKUP] = "looked-up", [VERDICT_DELIVER] = "verified",
	};
	bool routine = decision->verdict == VERDICT_PASS || decision->verdict == VERDICT_PENDING ||
		       decision->verdict == VERDICT_DROP;
	enum log_level level = routine ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO;
	char source[ENDPOINT_TEXT_SIZE];
	char destination[ENDPOINT_TEXT_SIZE];
	char interface[INTERFACE_TEXT_SIZE];

	if (!log_enabled(level))
		return;
	endpoint_format(&segment->tuple.source, source);
	endpoint_format(&segment->tuple.destination, destination);
	interfaces_name(protect->setup->interfaces, queued->indev, interface);
	log_event(level, events[decision->verdict],
		  "service=%s source=%s destination=%s interface=%s reason=%s%s%s",
		  decision->service != NULL ? decision->service->name : "-", source, destination,
		  interface, reason_word(decision->reason), decision->key != NULL ? " key=" : "",
		  decision->key != NULL ? decision->key->name : "");
}

/* What goes beyond one packet. Rare by itself, so the level does not matter. */
static void log_alarms(struct protect_worker *protect, const struct tuple *tuple,
		       const struct decision *decision)
{
	const struct service *service = decision->service;
	char source[ENDPOINT_TEXT_SIZE];

	if ((decision->alarms & ALARM_SOURCE) != 0) {
		const struct failure_rules *rules = service->failures;
		struct prefix prefix = {.base = tuple->source};
		bool ipv4 = prefix.base.family == FAMILY_IPV4;
		prefix.length = ipv4 ? rules->ipv4_prefix : rules->ipv6_prefix;
		prefix_clear_host_bits(&prefix);
		counter_add(&protect->counters.source_alarms, 1);
		log_event(LOG_LEVEL_WARNING, rules->back_off > 0 ? "source-held" : "source-failing",
			  "service=%s prefix=%s/%u max_failures=%u seconds=%u", service->name,
			  endpoint_format_address(&prefix.base, source), prefix.length,
			  rules->max_failures, rules->back_off);
	}
	if ((decision->alarms & ALARM_SERVICE) != 0) {
		counter_add(&protect->counters.service_alarms, 1);
		log_event(LOG_LEVEL_WARNING, "service-attacked",
			  "service=%s max_service_failures=%u", service->name,
			  service->failures->max_service_failures);
	}
	if ((decision->alarms & ALARM_REPLAY_TABLE) != 0)
		log_event(LOG_LEVEL_WARNING, "replay-table-full",
			  "service=%s reason=\"tokens are forgotten before replay_window is over; "
			  "raise max_flows\"",
			  service->name);
}

static void count(const struct protect_worker *protect, const struct decision *decision,
		  int64_t wall)
{
	struct tally *tally = protect->setup->unknown;

	if (decision->key != NULL)
		tally = decision->key->tally;
	else if (decision->service != NULL)
		tally = decision->service->tally;
	tally_count(tally, protect->number, decision->verdict, decision->reason);
	if (decision->key != NULL &&
	    (decision->verdict == VERDICT_VERIFIED || decision->verdict == VERDICT_DELIVER))
		tally_use(tally, protect->number, wall);
}

/* An RST in the server's name takes the server's way, so that NAT and the administrator's rules see
 * what they would see from the server. */
static void send_to_client(struct protect_worker *protect, const struct tuple *client,
			   const struct segment_plan *plan)
{
	struct segment_plan own = *plan;
	struct conntrack_entry entry;

	/* An acknowledgement of ours is not tracked (see "answers_local"). */
	if ((plan->flags & TCP_RST) != 0 &&
	    conntrack_lookup(protect->conntrack, client, &entry) > 0)
		own.tuple = entry.reply;
	inject_plan(protect->inject, &own);
}

/* What the engine wants done without a packet to judge. */
static void log_action(struct protect_worker *protect, const struct protect_action *action)
{
	const struct service *service =
		service_table_find(protect->services, &action->tuple.destination);
	bool verified = action->kind == PROTECT_VERIFY;
	char source[ENDPOINT_TEXT_SIZE];
	char destination[ENDPOINT_TEXT_SIZE];

	log_event(verified ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, verified ? "delivered" : "reset",
		  "service=%s source=%s destination=%s reason=%s",
		  service != NULL ? service->name : "-",
		  endpoint_format(&action->tuple.source, source),
		  endpoint_format(&action->tuple.destination, destination),
		  reason_word(action->reason));
	if (verified)
		return;
	counter_add(&protect->counters.resets, 1);
	tally_count(service != NULL ? service->tally : protect->setup->unknown, protect->number,
		    VERDICT_RESET, action->reason);
}

static void act(void *context, const struct protect_action *action)
{
	struct protect_worker *protect = context;
	const struct marks *marks = &protect->setup->marks;

	switch (action->kind) {
	case PROTECT_TO_CLIENT:
		send_to_client(protect, &action->tuple, action->plan);
		return;
	case PROTECT_TO_SERVER:
		inject_plan(protect->inject, action->plan);
		return;
	case PROTECT_VERIFY:
		conntrack_mark(protect->conntrack, &action->tuple, marks->verified, marks->mask);
		break;
	case PROTECT_FORGET:
		conntrack_delete(protect->conntrack, &action->tuple);
		break;
	case PROTECT_SHUT:
		/* Nearly always there is nothing left. */
		conntrack_mark(protect->conntrack, &action->tuple, marks->refused, marks->mask);
		return;
	}
	log_action(protect, action);
}

/* The other half of VERDICT_RESET: an RST for whom the packet came from. client: the tuple of the
 * client's direction. */
static void reset_sender(struct protect_worker *protect, const struct tuple *client, bool reply,
			 const struct decision *decision)
{
	const struct segment_plan plan = {
		.tuple = reply ? *client : tuple_reverse(client),
		.sequence = decision->peer_sequence,
		.flags = TCP_RST,
		.hop_limit = 64,
		.dont_fragment = true,
	};

	if (reply)
		inject_plan(protect->inject, &plan);
	else
		send_to_client(protect, client, &plan);
	if (!decision->keep_entry)
		conntrack_delete(protect->conntrack, client);
	counter_add(&protect->counters.resets, 1);
}

/* Gives the verdict to the kernel. */
static void carry_out(struct protect_worker *protect, struct worker *worker,
		      const struct queue_packet *queued, const struct segment *segment,
		      const struct tuple *tuple, const struct decision *decision)
{
	bool reply = queued->hook == NF_INET_POST_ROUTING;
	const struct marks *marks = &protect->setup->marks;
	/* It told us something. */
	bool told = (queued->mark & marks->mask) == marks->verified;
	uint32_t mark = mark_of(marks, queued->mark, told ? VERDICT_CLOSED : decision->verdict);
	struct queue *queue = worker_queue(worker);

	count(protect, decision, worker_moment(worker).wall);
	if (decision->verdict == VERDICT_DROP) {
		queue_verdict(queue, queued->id, NF_DROP, NULL, NULL, 0);
		return;
	}
	queue_verdict(queue, queued->id, NF_ACCEPT, reply && !told ? NULL : &mark,
		      decision->modified ? segment->packet->bytes : NULL,
		      decision->modified ? segment->packet->length : 0);
	if (decision->verdict != VERDICT_RESET)
		return;
	/* The RST needs the entry for NAT, so it must be through before the entry goes. */
	struct tuple client = reply ? tuple_reverse(tuple) : *tuple;
	queue_flush(queue);
	reset_sender(protect, &client, reply, decision);
}

/* Which service was meant is not known: the ports are what cannot be read. */
static void log_unreadable(const struct protect_worker *protect, const struct queue_packet *queued,
			   enum reason reason)
{
	char source[ENDPOINT_TEXT_SIZE] = "-";
	char destination[ENDPOINT_TEXT_SIZE] = "-";
	char interface[INTERFACE_TEXT_SIZE];
	struct tuple tuple;

	if (!log_enabled(LOG_LEVEL_INFO))
		return;
	if (packet_addresses(&tuple, queued->payload, queued->length)) {
		endpoint_format_address(&tuple.source, source);
		endpoint_format_address(&tuple.destination, destination);
	}
	interfaces_name(protect->setup->interfaces, queued->indev, interface);
	log_event(LOG_LEVEL_INFO, "refused",
		  "service=- source=%s destination=%s interface=%s reason=%s", source, destination,
		  interface, reason_word(reason));
}

static void refuse_unreadable(struct protect_worker *protect, struct worker *worker,
			      const struct queue_packet *queued, enum reason reason)
{
	uint32_t mark = mark_of(&protect->setup->marks, queued->mark, VERDICT_CLOSED);

	tally_count(protect->setup->unknown, protect->number, VERDICT_CLOSED, reason);
	log_unreadable(protect, queued, reason);
	/* What a server may have agreed to is not known either. */
	queue_verdict(worker_queue(worker), queued->id,
		      queued->hook == NF_INET_POST_ROUTING ? NF_DROP : NF_ACCEPT, &mark, NULL, 0);
}

/* An RST from a server's side that belongs to nothing, as conntrack says. There is no connection
 * behind it, so what the client says must not pass as that of one. */
static void judge_lost(struct protect_worker *protect, const struct segment *segment,
		       struct decision *decision)
{
	const struct marks *marks = &protect->setup->marks;
	struct conntrack_entry entry;
	int found = conntrack_lookup(protect->conntrack, &segment->tuple, &entry);

	*decision = (struct decision){.verdict = VERDICT_PASS, .reason = REASON_SERVER_REPLY};
	if (found < 0)
		counter_add(&protect->counters.failed_lookups, 1);
	if (found <= 0 || (entry.mark & marks->mask) != marks->verified ||
	    !tuple_equal(&entry.reply, &segment->tuple))
		return;
	decision->service = service_table_find(protect->services, &entry.original.destination);
	if (decision->service == NULL || decision->service->integrity == 0)
		return;
	decision->reason = REASON_CONNECTION_ENDED;
	conntrack_mark(protect->conntrack, &entry.original, marks->refused, marks->mask);
}

/* hint: what the rules tell of the connection, in our bits of the packet mark. */
static void judge_segment(struct protect_worker *protect, struct worker *worker,
			  struct segment *segment, bool reply, uint32_t hint,
			  struct decision *decision)
{
	const struct marks *marks = &protect->setup->marks;
	struct moment now = worker_moment(worker);

	if (!reply && hint == marks->verified) {
		judge_lost(protect, segment, decision);
		return;
	}
	if (!reply) {
		protect_judge(protect->engine, protect->services, segment, hint == marks->refused,
			      now, decision);
		if (decision->verdict == VERDICT_LOOKUP)
			resolve(protect, segment, now, decision);
		return;
	}
	const struct tuple client = tuple_reverse(&segment->tuple);
	protect_reply(protect->engine, protect->services, segment, hint == marks->verified,
		      now.steady, decision);
	if (decision->verdict == VERDICT_PENDING)
		set_pending(protect, worker_queue(worker), &client, decision);
}

static void judge_packet(void *context, struct worker *worker, struct queue_packet *queued)
{
	struct protect_worker *protect = context;
	const struct marks *marks = &protect->setup->marks;
	bool reply = queued->hook == NF_INET_POST_ROUTING;
	uint32_t hint = queued->mark & marks->mask;
	struct packet packet;
	struct segment segment;
	struct decision decision;
	enum reason reason = packet_parse(&packet, queued->payload, queued->length);

	if (reason == REASON_NONE) {
		packet.checksum_ready = !queued->checksum_not_ready;
		reason = segment_parse(&segment, &packet);
	}
	if (reason != REASON_NONE) {
		refuse_unreadable(protect, worker, queued, reason);
		return;
	}
	struct tuple tuple = segment.tuple;
	protect->services = worker_generation(worker)->services;
	judge_segment(protect, worker, &segment, reply, hint, &decision);
	log_decision(protect, queued, &segment, &decision);
	if (decision.alarms != 0)
		log_alarms(protect, &tuple, &decision);
	carry_out(protect, worker, queued, &segment, &tuple, &decision);
}

static uint64_t tick(void *context, struct worker *worker)
{
	struct protect_worker *protect = context;

	protect->services = worker_generation(worker)->services;
	uint64_t due = protect_tick(protect->engine, worker_time(worker));

	atomic_store_explicit(&protect->counters.pending, protect_pending(protect->engine),
			      memory_order_relaxed);
	atomic_store_explicit(&protect->counters.held, protect_held(protect->engine),
			      memory_order_relaxed);
	return due;
}

struct worker_callbacks protect_worker_callbacks(struct protect_worker *protect)
{
	return (struct worker_callbacks){.packet = judge_packet, .tick = tick, .context = protect};
}
