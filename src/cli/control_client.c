/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "control_client.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli.h"
#include "io/config.h"

enum { REQUEST_SECONDS = 10, ANSWER_SECONDS = 60 };

int control_options_parse(struct control_options *options, int argc, char **argv, const char *name,
			  const char *usage, int least, int most)
{
	static const struct option known[] = {
		{"socket", required_argument, NULL, 's'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int option;

	*options = (struct control_options){.socket = CONTROL_SOCKET};
	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (option == 'h') {
			fputs(usage, stdout);
			return STATUS_FINE;
		}
		if (option == '?')
			return STATUS_USAGE;
		if (option == 's')
			options->socket = optarg;
		else
			options->json = true;
	}
	options->first = optind;
	if (argc - optind > most)
		return complain(name, "unexpected argument '%s'", argv[optind + most]);
	if (argc - optind < least)
		return complain(name, "an argument is missing; try 'knockctl %s --help'", name);
	return -1;
}

static bool is_other_file(const char *path)
{
	struct stat file;

	return stat(path, &file) == 0 && !S_ISSOCK(file.st_mode);
}

static void complain_of_socket(const char *name, const char *path, int failure)
{
	if (failure == ECONNREFUSED && is_other_file(path))
		complain(name, "%s: not a socket, expected the control.socket of knockgw.conf",
			 path);
	else if (failure == ENOENT || failure == ECONNREFUSED)
		complain(name,
			 "the daemon is not running: nobody listens on %s; start knockgw, or name "
			 "another socket with --socket",
			 path);
	else if (failure == EACCES || failure == EPERM)
		complain(name,
			 "%s: permission denied, expected root or a member of the group that "
			 "control.group of knockgw.conf names",
			 path);
	else if (failure == EAGAIN)
		complain(name, "%s: the daemon does not answer", path);
	else
		complain(name, "%s: %s", path, strerror(failure));
}

/* Returns a stream to read the answer from, or NULL with errno set. */
static FILE *send_request(const char *path, const char *request, bool endless)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const struct timeval limit = {.tv_sec = endless ? 0 : ANSWER_SECONDS};
	const struct timeval request_limit = {.tv_sec = REQUEST_SECONDS};
	size_t length = strlen(request);
	FILE *stream = NULL;
	int fd = -1;

	errno = ENAMETOOLONG;
	if (strlen(path) < sizeof(address.sun_path))
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return NULL;
	memcpy(address.sun_path, path, strlen(path));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	/* Also for the connection itself, which waits where a daemon does not come round. */
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &request_limit, sizeof(request_limit));
	/* EPIPE: it was refused before it was read, and the answer says why. */
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 &&
	    (send(fd, request, length, MSG_NOSIGNAL) == (ssize_t)length || errno == EPIPE))
		stream = fdopen(fd, "r");
	if (stream == NULL) {
		int failure = errno;
		close(fd);
		errno = failure;
	}
	return stream;
}

/* The next object of an answer; NULL when there is none or it is none. */
static json_t *read_object(FILE *stream)
{
	char *line = NULL;
	size_t size = 0;
	ssize_t length = getline(&line, &size, stream);
	json_t *object = length > 0 ? json_loadb(line, (size_t)length, 0, NULL) : NULL;

	free(line);
	if (object == NULL || json_is_object(object))
		return object;
	json_decref(object);
	return NULL;
}

/* The first line says whether there is an answer. */
static bool read_welcome(FILE *stream, const char *name, bool quietly)
{
	json_t *object = read_object(stream);
	bool fine = object != NULL && json_is_true(json_object_get(object, "ok"));
	const char *error = json_string_value(json_object_get(object, "error"));

	if (!fine && !quietly)
		complain(name, "%s", error != NULL ? error : "the daemon does not answer");
	json_decref(object);
	return fine;
}

/* Objects until the line that counts them: an answer without it was cut off. */
static bool read_objects(FILE *stream, void (*row)(void *context, const json_t *object),
			 void *context)
{
	json_int_t count = 0;
	json_t *object;

	while ((object = read_object(stream)) != NULL) {
		const json_t *end = json_object_get(object, "end");
		bool whole = json_is_integer(end) && json_integer_value(end) == count;
		if (end == NULL)
			row(context, object);
		json_decref(object);
		if (end != NULL)
			return whole;
		count++;
	}
	return false;
}

static int ask(const struct control_options *options, const char *name, const char *request,
	       bool quietly, void (*row)(void *context, const json_t *object), void *context)
{
	char line[512];
	int status = STATUS_FAILED;

	if ((size_t)snprintf(line, sizeof(line), "%s\n", request) >= sizeof(line))
		return complain(name, "an argument is too long");
	FILE *stream = send_request(options->socket, line, strncmp(request, "monitor", 7) == 0);
	if (stream == NULL) {
		if (!quietly)
			complain_of_socket(name, options->socket, errno);
		return STATUS_FAILED;
	}
	if (read_welcome(stream, name, quietly)) {
		status = read_objects(stream, row, context) ? STATUS_FINE : STATUS_FAILED;
		if (status != STATUS_FINE && !quietly)
			complain(name, "the daemon went away before its answer was complete");
	}
	fclose(stream);
	return status;
}

int control_ask(const struct control_options *options, const char *name, const char *request,
		void (*row)(void *context, const json_t *object), void *context)
{
	return ask(options, name, request, false, row, context);
}

static void collect(void *context, const json_t *object)
{
	json_array_append_new(context, json_deep_copy(object));
}

json_t *control_collect(const struct control_options *options, const char *name,
			const char *request, bool quietly, int *status)
{
	json_t *list = json_array();

	*status = ask(options, name, request, quietly, collect, list);
	if (*status == STATUS_FINE)
		return list;
	json_decref(list);
	return NULL;
}

int control_finish(const char *name, int status)
{
	if (fflush(stdout) == 0 && ferror(stdout) == 0)
		return status;
	complain(name, "cannot write to standard output");
	return STATUS_FAILED;
}
