/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "metrics.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "local_socket.h"
#include "log.h"
#include "metrics_text.h"
#include "worker.h"

enum {
	BACKLOG = 16,
	CONNECTIONS_MAX = 32,
	LIFETIME = 10 * 1000, /* milliseconds of a connection, whatever it does meanwhile */
	IDLE_SECONDS = 5,
	HEADERS_MAX = 4096,
};

static const struct timeval SWEEP_INTERVAL = {.tv_sec = 1};

/* A connection, with a reference of ours that keeps its descriptor from being used again. */
struct connection {
	struct bufferevent *stream; /* NULL: free */
	uint64_t begun;
};

struct metrics {
	struct event_base *base;
	struct daemon_interface daemon;
	struct local_socket socket; /* when it has a path */
	int fd;                     /* listens; -1 once it belongs to http */
	struct evhttp *http;
	struct event *sweep;
	struct connection connections[CONNECTIONS_MAX];
};

bool metrics_wanted(const struct config *config)
{
	return config->metrics.family != 0 || config->metrics_path != NULL;
}

/* libevent has taken its callbacks away from a connection that it is done with. */
static bool is_done(const struct connection *connection)
{
	bufferevent_event_cb callback = NULL;

	bufferevent_getcb(connection->stream, NULL, NULL, &callback, NULL);
	return callback == NULL;
}

static void release(struct connection *connection)
{
	bufferevent_decref(connection->stream);
	connection->stream = NULL;
}

/* libevent sees the end of the connection, and frees it. */
static void cut(const struct connection *connection)
{
	evutil_socket_t fd = bufferevent_getfd(connection->stream);

	if (fd >= 0)
		shutdown(fd, SHUT_RDWR);
}

static void on_sweep(evutil_socket_t fd, short events, void *context)
{
	struct metrics *metrics = context;
	uint64_t now = worker_now();
	bool left = false;

	(void)fd;
	(void)events;
	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		struct connection *connection = &metrics->connections[i];
		if (connection->stream != NULL && is_done(connection))
			release(connection);
		if (connection->stream == NULL)
			continue;
		left = true;
		if (now - connection->begun > LIFETIME)
			cut(connection);
	}
	if (left)
		event_add(metrics->sweep, &SWEEP_INTERVAL);
}

/* A place for another connection; the oldest one has to go when there is none. */
static struct connection *place_for(struct metrics *metrics)
{
	struct connection *oldest = &metrics->connections[0];

	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		struct connection *connection = &metrics->connections[i];
		if (connection->stream != NULL && is_done(connection))
			release(connection);
		if (connection->stream == NULL)
			return connection;
		if (connection->begun < oldest->begun)
			oldest = connection;
	}
	cut(oldest);
	release(oldest);
	return oldest;
}

static struct bufferevent *on_connection(struct event_base *base, void *context)
{
	struct metrics *metrics = context;
	struct bufferevent *stream = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);

	if (stream == NULL)
		return NULL;
	struct connection *connection = place_for(metrics);
	bufferevent_incref(stream);
	*connection = (struct connection){.stream = stream, .begun = worker_now()};
	if (!event_pending(metrics->sweep, EV_TIMEOUT, NULL))
		event_add(metrics->sweep, &SWEEP_INTERVAL);
	return stream;
}

static void on_metrics(struct evhttp_request *request, void *context)
{
	const struct metrics *metrics = context;
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
	struct evbuffer *output = evbuffer_new();
	struct view view;

	metrics->daemon.look(metrics->daemon.context, &view);
	evhttp_add_header(headers, "Connection", "close");
	if (output == NULL || !metrics_write(output, &view)) {
		evhttp_send_error(request, HTTP_INTERNAL, "memory is short");
	} else {
		evhttp_add_header(headers, "Content-Type",
				  "text/plain; version=0.0.4; charset=utf-8");
		evhttp_send_reply(request, HTTP_OK, "OK", output);
	}
	if (output != NULL)
		evbuffer_free(output);
}

static void on_other(struct evhttp_request *request, void *context)
{
	(void)context;
	evhttp_add_header(evhttp_request_get_output_headers(request), "Connection", "close");
	evhttp_send_error(request, HTTP_NOTFOUND, "only /metrics is here");
}

static int bind_address(const struct endpoint *endpoint)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(endpoint->port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(endpoint->port)};
	bool is_v4 = endpoint->family == FAMILY_IPV4;
	const struct sockaddr *address =
		is_v4 ? (const struct sockaddr *)&v4 : (const struct sockaddr *)&v6;
	const int on = 1;

	memcpy(&v4.sin_addr, endpoint->address, sizeof(v4.sin_addr));
	memcpy(&v6.sin6_addr, endpoint->address, sizeof(v6.sin6_addr));
	int fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (!is_v4)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, address, is_v4 ? sizeof(v4) : sizeof(v6)) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	int failure = errno;
	close(fd);
	errno = failure;
	return -1;
}

/* Returns a listening socket, or -1 with one line in error. */
static int open_socket(struct metrics *metrics, const struct config *config,
		       char error[static LOCAL_SOCKET_ERROR_SIZE])
{
	const struct local_socket_options options = {config->metrics_path, config->control_owner,
						     config->control_group, config->control_mode};
	char text[ENDPOINT_TEXT_SIZE];

	if (config->metrics_path != NULL)
		return local_socket_open(&metrics->socket, &options, error)
			       ? dup(metrics->socket.fd)
			       : -1;
	int fd = bind_address(&config->metrics);
	if (fd < 0)
		snprintf(error, LOCAL_SOCKET_ERROR_SIZE, "%s: %s",
			 endpoint_format(&config->metrics, text), strerror(errno));
	return fd;
}

struct metrics *metrics_open(const struct config *config)
{
	char error[LOCAL_SOCKET_ERROR_SIZE] = "out of memory";
	char quoted[LOCAL_SOCKET_ERROR_SIZE + 64];
	struct metrics *metrics = calloc(1, sizeof(*metrics));

	if (metrics != NULL) {
		metrics->socket.fd = -1;
		metrics->fd = open_socket(metrics, config, error);
		if (metrics->fd >= 0)
			return metrics;
	}
	log_event(LOG_LEVEL_ERROR, "start-failed", "part=metrics reason=%s",
		  log_quote(quoted, sizeof(quoted), error));
	metrics_stop(metrics);
	return NULL;
}

/* The listener takes the socket over, and libevent's server the listener. */
static bool listen_at(struct metrics *metrics)
{
	struct evconnlistener *listener =
		evconnlistener_new(metrics->base, NULL, NULL,
				   LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, metrics->fd);

	if (listener == NULL)
		return false;
	metrics->fd = -1;
	if (evhttp_bind_listener(metrics->http, listener) != NULL)
		return true;
	evconnlistener_free(listener);
	return false;
}

static bool serve(struct metrics *metrics)
{
	metrics->http = evhttp_new(metrics->base);
	metrics->sweep = evtimer_new(metrics->base, on_sweep, metrics);
	if (metrics->http == NULL || metrics->sweep == NULL || !listen_at(metrics))
		return false;
	evhttp_set_allowed_methods(metrics->http, EVHTTP_REQ_GET);
	evhttp_set_max_headers_size(metrics->http, HEADERS_MAX);
	evhttp_set_max_body_size(metrics->http, 0);
	evhttp_set_timeout(metrics->http, IDLE_SECONDS);
	evhttp_set_bevcb(metrics->http, on_connection, metrics);
	evhttp_set_gencb(metrics->http, on_other, NULL);
	return evhttp_set_cb(metrics->http, "/metrics", on_metrics, metrics) == 0;
}

bool metrics_start(struct metrics *metrics, struct event_base *base,
		   const struct daemon_interface *daemon)
{
	metrics->base = base;
	metrics->daemon = *daemon;
	if (serve(metrics))
		return true;
	log_event(LOG_LEVEL_ERROR, "start-failed", "part=metrics reason=\"out of memory\"");
	return false;
}

void metrics_stop(struct metrics *metrics)
{
	if (metrics == NULL)
		return;
	if (metrics->http != NULL)
		evhttp_free(metrics->http);
	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		if (metrics->connections[i].stream != NULL)
			release(&metrics->connections[i]);
	if (metrics->sweep != NULL)
		event_free(metrics->sweep);
	if (metrics->fd >= 0)
		close(metrics->fd);
	local_socket_close(&metrics->socket);
	free(metrics);
}
