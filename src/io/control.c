/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "control.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control_answer.h"
#include "core/control_request.h"
#include "event_ring.h"
#include "local_socket.h"
#include "log.h"

enum {
	CLIENTS_MAX = 64,
	MONITORS_MAX = 16,
	MONITOR_BUFFER = 256 * 1024,   /* events that wait for a slow reader */
	OUTPUT_MAX = 16 * 1024 * 1024, /* answers that wait for all clients together */
	EVENTS_AT_ONCE = 2 * EVENT_RING_SLOTS,
};

static const struct timeval REQUEST_TIME = {.tv_sec = 10}; /* for all of it */
static const struct timeval ANSWER_TIME = {.tv_sec = 30};

enum phase { PHASE_REQUEST, PHASE_ANSWER, PHASE_MONITOR };

struct client {
	TAILQ_ENTRY(client) entry;
	struct control *control;
	struct bufferevent *stream;
	struct event *deadline;
	enum phase phase;
	enum log_level level; /* of a monitor */
	uint64_t lost;        /* events that a monitor has not been told of yet */
};

TAILQ_HEAD(client_list, client);

struct control {
	struct event_base *base;
	struct daemon_interface daemon;
	struct local_socket socket;
	struct evconnlistener *listener;
	gid_t group;
	struct client_list clients; /* the oldest first */
	unsigned int client_count;
	unsigned int monitor_count;
	struct event_ring *ring;
	struct event *events; /* on the ring */
};

/* As many events as the most curious monitor wants. */
static void adjust_tap(struct control *control)
{
	int level = -1;
	const struct client *client = NULL;

	TAILQ_FOREACH(client, &control->clients, entry)
	if (client->phase == PHASE_MONITOR && (int)client->level > level)
		level = (int)client->level;
	if (level < 0)
		log_tap(NULL, LOG_LEVEL_ERROR);
	else
		log_tap(control->ring, (enum log_level)level);
}

static void client_free(struct client *client)
{
	struct control *control = client->control;
	bool monitor = client->phase == PHASE_MONITOR;

	TAILQ_REMOVE(&control->clients, client, entry);
	control->client_count--;
	control->monitor_count -= monitor;
	if (client->deadline != NULL)
		event_free(client->deadline);
	bufferevent_free(client->stream);
	free(client);
	if (monitor)
		adjust_tap(control);
}

static size_t waiting_output(const struct control *control)
{
	const struct client *client = NULL;
	size_t sum = 0;

	TAILQ_FOREACH(client, &control->clients, entry)
	sum += evbuffer_get_length(bufferevent_get_output(client->stream));
	return sum;
}

/* From here on the client only reads, and is gone when all is read or its time is over. */
static void begin_answer(struct client *client)
{
	client->phase = PHASE_ANSWER;
	bufferevent_disable(client->stream, EV_READ);
	event_add(client->deadline, &ANSWER_TIME);
}

static void refuse(struct client *client, const char *error)
{
	begin_answer(client);
	control_answer_error(bufferevent_get_output(client->stream), error);
}

static bool parse_level(enum log_level *level, const struct control_request *request)
{
	*level = LOG_LEVEL_INFO;
	if (request->count == 0)
		return true;
	for (int i = LOG_LEVEL_ERROR; i <= LOG_LEVEL_DEBUG; i++) {
		*level = (enum log_level)i;
		if (strcmp(request->arguments[0], log_level_words[*level]) == 0)
			return true;
	}
	return false;
}

static void begin_monitor(struct client *client, const struct control_request *request)
{
	struct control *control = client->control;

	if (!parse_level(&client->level, request)) {
		refuse(client, "expected error, warning, info or debug");
		return;
	}
	if (control->monitor_count >= MONITORS_MAX) {
		refuse(client, "too many monitors at once");
		return;
	}
	client->phase = PHASE_MONITOR;
	control->monitor_count++;
	event_del(client->deadline);
	control_answer_begin(bufferevent_get_output(client->stream));
	adjust_tap(control);
}

static void serve(struct client *client, const char *line, size_t length)
{
	struct control *control = client->control;
	char error[CONTROL_ERROR_SIZE];
	struct control_request request;

	if (!control_request_parse(&request, line, length, error)) {
		refuse(client, error);
	} else if (request.command == CONTROL_MONITOR) {
		begin_monitor(client, &request);
	} else if (waiting_output(control) > OUTPUT_MAX) {
		refuse(client, "too many answers wait for their readers, try again later");
	} else {
		begin_answer(client);
		control_answer(bufferevent_get_output(client->stream), &request, &control->daemon);
	}
}

static void on_readable(struct bufferevent *stream, void *context)
{
	struct client *client = context;
	struct evbuffer *input = bufferevent_get_input(stream);
	char line[CONTROL_LINE_SIZE];

	if (client->phase != PHASE_REQUEST) {
		/* Nothing more is expected of it; reading on shows when it leaves. */
		evbuffer_drain(input, evbuffer_get_length(input));
		return;
	}
	struct evbuffer_ptr end = evbuffer_search_eol(input, NULL, NULL, EVBUFFER_EOL_LF);
	if (end.pos >= CONTROL_LINE_SIZE ||
	    (end.pos < 0 && evbuffer_get_length(input) >= CONTROL_LINE_SIZE)) {
		refuse(client, "the request is too long");
		return;
	}
	if (end.pos < 0)
		return;
	evbuffer_remove(input, line, (size_t)end.pos);
	serve(client, line, (size_t)end.pos);
}

static bool has_room(const struct client *client)
{
	return evbuffer_get_length(bufferevent_get_output(client->stream)) < MONITOR_BUFFER;
}

static void tell_lost(struct client *client)
{
	if (client->lost == 0 || !has_room(client))
		return;
	evbuffer_add_printf(bufferevent_get_output(client->stream),
			    "{\"event\":\"lost\",\"level\":\"warning\",\"events\":%llu}\n",
			    (unsigned long long)client->lost);
	client->lost = 0;
}

static void on_written(struct bufferevent *stream, void *context)
{
	struct client *client = context;

	(void)stream;
	if (client->phase == PHASE_ANSWER)
		client_free(client);
	else if (client->phase == PHASE_MONITOR)
		tell_lost(client);
}

static void on_stream_event(struct bufferevent *stream, short events, void *context)
{
	(void)stream;
	(void)events;
	client_free(context);
}

static void on_deadline(evutil_socket_t fd, short events, void *context)
{
	(void)fd;
	(void)events;
	client_free(context);
}

static void deliver(struct control *control, unsigned int level, const char *line, size_t length)
{
	struct client *client = NULL;

	TAILQ_FOREACH(client, &control->clients, entry)
	{
		if (client->phase != PHASE_MONITOR || level > client->level)
			continue;
		tell_lost(client);
		if (client->lost == 0 && has_room(client)) {
			struct evbuffer *output = bufferevent_get_output(client->stream);
			evbuffer_add(output, line, length);
			evbuffer_add(output, "\n", 1);
		} else {
			client->lost++;
		}
	}
}

static void on_events(evutil_socket_t fd, short events, void *context)
{
	struct control *control = context;
	char line[EVENT_LINE_SIZE];
	struct client *client = NULL;
	unsigned int level;
	unsigned int taken = 0;
	size_t length;

	(void)fd;
	(void)events;
	event_ring_acknowledge(control->ring);
	while (taken++ < EVENTS_AT_ONCE &&
	       (length = event_ring_pop(control->ring, line, &level)) > 0)
		deliver(control, level, line, length);
	/* Others want their turn, too. */
	if (taken > EVENTS_AT_ONCE)
		event_active(control->events, EV_READ, 0);
	uint64_t lost = event_ring_lost(control->ring);
	TAILQ_FOREACH(client, &control->clients, entry)
	{
		if (client->phase != PHASE_MONITOR)
			continue;
		client->lost += lost;
		tell_lost(client);
	}
}

/* Who has been connected longest without a request makes room. */
static bool make_room(struct control *control)
{
	struct client *client = NULL;

	if (control->client_count < CLIENTS_MAX)
		return true;
	TAILQ_FOREACH(client, &control->clients, entry)
	{
		if (client->phase != PHASE_REQUEST)
			continue;
		client_free(client);
		return true;
	}
	return false;
}

/* Says no without taking the connection up: what does not fit the socket at once is lost. */
static void turn_away(int fd, const char *error)
{
	struct evbuffer *output = evbuffer_new();

	if (output != NULL) {
		control_answer_error(output, error);
		evbuffer_write(output, fd);
		evbuffer_free(output);
	}
	close(fd);
}

static void add_client(struct control *control, int fd)
{
	struct client *client = calloc(1, sizeof(*client));
	struct bufferevent *stream =
		bufferevent_socket_new(control->base, fd, BEV_OPT_CLOSE_ON_FREE);
	struct event *deadline =
		client != NULL ? evtimer_new(control->base, on_deadline, client) : NULL;

	if (stream == NULL || deadline == NULL) {
		if (stream != NULL)
			bufferevent_free(stream);
		else
			close(fd);
		if (deadline != NULL)
			event_free(deadline);
		free(client);
		return;
	}
	*client = (struct client){.control = control, .stream = stream, .deadline = deadline};
	TAILQ_INSERT_TAIL(&control->clients, client, entry);
	control->client_count++;
	bufferevent_setcb(stream, on_readable, on_written, on_stream_event, client);
	bufferevent_setwatermark(stream, EV_READ, 0, CONTROL_LINE_SIZE);
	bufferevent_enable(stream, EV_READ | EV_WRITE);
	event_add(deadline, &REQUEST_TIME);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
		      int length, void *context)
{
	struct control *control = context;
	struct local_peer peer;

	(void)listener;
	(void)address;
	(void)length;
	if (!local_peer_get(&peer, fd, control->group) || !peer.allowed) {
		char error[CONTROL_ERROR_SIZE];
		log_event(LOG_LEVEL_WARNING, "control-refused", "uid=%u pid=%d",
			  (unsigned int)peer.uid, (int)peer.pid);
		snprintf(
			error, sizeof(error),
			"permission denied: user %u is neither root, nor the daemon's user, nor in "
			"the group that control.group names",
			(unsigned int)peer.uid);
		turn_away(fd, error);
	} else if (!make_room(control)) {
		turn_away(fd, "too many clients at once, try again later");
	} else {
		add_client(control, fd);
	}
}

static bool listen_at(struct control *control)
{
	control->listener = evconnlistener_new(control->base, on_accept, control,
					       LEV_OPT_CLOSE_ON_EXEC, 0, control->socket.fd);
	control->ring = event_ring_new();
	if (control->listener == NULL || control->ring == NULL)
		return false;
	control->events = event_new(control->base, event_ring_fd(control->ring),
				    EV_READ | EV_PERSIST, on_events, control);
	return control->events != NULL && event_add(control->events, NULL) == 0;
}

struct control *control_open(const struct config *config)
{
	const struct local_socket_options options = {config->control_socket, config->control_owner,
						     config->control_group, config->control_mode};
	char error[LOCAL_SOCKET_ERROR_SIZE] = "out of memory";
	char quoted[LOCAL_SOCKET_ERROR_SIZE + 64];
	struct control *control = calloc(1, sizeof(*control));

	if (control != NULL) {
		*control = (struct control){.socket = {.fd = -1}, .group = config->control_group};
		TAILQ_INIT(&control->clients);
		if (local_socket_open(&control->socket, &options, error))
			return control;
	}
	log_event(config->control_given ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING,
		  "control-unavailable", "reason=%s", log_quote(quoted, sizeof(quoted), error));
	control_stop(control);
	return NULL;
}

bool control_start(struct control *control, struct event_base *base,
		   const struct daemon_interface *daemon)
{
	control->base = base;
	control->daemon = *daemon;
	if (listen_at(control))
		return true;
	log_event(LOG_LEVEL_ERROR, "start-failed", "part=control reason=\"out of memory\"");
	return false;
}

void control_stop(struct control *control)
{
	if (control == NULL)
		return;
	for (struct client *next, *client = TAILQ_FIRST(&control->clients); client != NULL;
	     client = next) {
		next = TAILQ_NEXT(client, entry);
		client_free(client);
	}
	log_tap(NULL, LOG_LEVEL_ERROR);
	if (control->listener != NULL)
		evconnlistener_free(control->listener);
	local_socket_close(&control->socket);
	if (control->events != NULL)
		event_free(control->events);
	event_ring_free(control->ring);
	free(control);
}
