/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The groups control, metrics and log: how the daemon is talked to and looked at. */
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "config_reader.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum { SOCKET_PATH_SIZE = sizeof(((struct sockaddr_un *)NULL)->sun_path) };

static void read_socket(struct reader *reader, const config_setting_t *setting, void *target)
{
	struct config *config = target;
	if (read_path(reader, setting, SOCKET_PATH_SIZE, &config->control_socket))
		config->control_given = true;
}

static void read_owner(struct reader *reader, const config_setting_t *setting, void *target)
{
	const char *name = read_string(reader, setting, "the name of a user");
	const struct passwd *user = name ? getpwnam(name) : NULL;
	if (user)
		((struct config *)target)->control_owner = user->pw_uid;
	else if (name)
		reader_error(reader, setting, "found \"%.*s\", expected a user of this system",
			     FOUND_LIMIT, name);
}

static void read_control_group(struct reader *reader, const config_setting_t *setting, void *target)
{
	const char *name = read_string(reader, setting, "the name of a group");
	const struct group *group = name ? getgrnam(name) : NULL;
	if (group)
		((struct config *)target)->control_group = group->gr_gid;
	else if (name)
		reader_error(reader, setting, "found \"%.*s\", expected a group of this system",
			     FOUND_LIMIT, name);
}

/* A string, because libconfig would read 0660 as a decimal number. */
static void read_mode(struct reader *reader, const config_setting_t *setting, void *target)
{
	const char *expected = "an octal mode in quotes, like \"0660\"";
	const char *text = read_string(reader, setting, expected);
	if (!text)
		return;
	size_t length = strlen(text);
	if (length < 3 || length > 4 || strspn(text, "01234567") != length ||
	    (length == 4 && text[0] != '0'))
		reader_error(reader, setting, "found \"%.*s\", expected %s", FOUND_LIMIT, text,
			     expected);
	else
		((struct config *)target)->control_mode = (mode_t)strtoul(text, NULL, 8);
}

void read_control(struct reader *reader, const config_setting_t *setting, void *target)
{
	static const struct field fields[] = {
		{"socket", read_socket, NULL},
		{"owner", read_owner, NULL},
		{"group", read_control_group, NULL},
		{"mode", read_mode, NULL},
	};
	struct config *config = target;
	read_group(reader, setting, fields, COUNT_OF(fields), target);
	bool has_mode = config_setting_is_group(setting) &&
			config_setting_get_member(setting, "mode") != NULL;
	if (config->control_group != (gid_t)-1 && !has_mode)
		config->control_mode = 0660;
}

static const char expected_listen[] =
	"an address with a port, like \"127.0.0.1:9477\" or \"[::1]:9477\", or the absolute path "
	"of a socket";

/* "192.0.2.1:80" or "[2001:db8::1]:80". */
static bool parse_listen(struct endpoint *endpoint, const char *text)
{
	char address[ENDPOINT_TEXT_SIZE];
	const char *colon = strrchr(text, ':');
	bool bracketed = text[0] == '[';
	if (!colon || strlen(text) >= sizeof(address) || (bracketed && colon[-1] != ']'))
		return false;
	size_t length = (size_t)(colon - text) - (bracketed ? 2 : 0);
	snprintf(address, sizeof(address), "%.*s", (int)length, text + bracketed);
	size_t digits = strspn(colon + 1, "0123456789");
	unsigned long port = strtoul(colon + 1, NULL, 10);
	if (!endpoint_parse_address(endpoint, address) || digits == 0 || digits > 5 ||
	    colon[1 + digits] != '\0' || port < 1 || port > UINT16_MAX ||
	    bracketed != (endpoint->family == FAMILY_IPV6))
		return false;
	endpoint->port = (uint16_t)port;
	return true;
}

static bool is_loopback(const struct endpoint *endpoint)
{
	static const uint8_t loopback[ADDRESS_SIZE] = {[ADDRESS_SIZE - 1] = 1};
	if (endpoint->family == FAMILY_IPV4)
		return endpoint->address[0] == 127;
	return memcmp(endpoint->address, loopback, ADDRESS_SIZE) == 0;
}

static void read_listen(struct reader *reader, const config_setting_t *setting, void *target)
{
	struct config *config = target;
	const char *text = read_string(reader, setting, expected_listen);
	if (!text)
		return;
	if (text[0] == '/') {
		read_path(reader, setting, SOCKET_PATH_SIZE, &config->metrics_path);
		return;
	}
	if (!parse_listen(&config->metrics, text)) {
		config->metrics = (struct endpoint){0};
		reader_error(reader, setting, "found \"%.*s\", expected %s", FOUND_LIMIT, text,
			     expected_listen);
	} else if (!is_loopback(&config->metrics)) {
		reader_warning(reader, setting,
			       "found \"%s\", which is no loopback address: whoever reaches it "
			       "reads the names of the hidden services, expected a firewall rule "
			       "for it",
			       text);
	}
}

void read_metrics(struct reader *reader, const config_setting_t *setting, void *target)
{
	static const struct field fields[] = {
		{"listen", read_listen, expected_listen},
	};
	read_group(reader, setting, fields, COUNT_OF(fields), target);
}

static void read_log_level(struct reader *reader, const config_setting_t *setting, void *target)
{
	unsigned int value;
	if (read_choice(reader, setting, log_level_words, &value))
		((struct config *)target)->log_level = (enum log_level)value;
}

static void read_log_format(struct reader *reader, const config_setting_t *setting, void *target)
{
	unsigned int value;
	if (read_choice(reader, setting, log_format_words, &value))
		((struct config *)target)->log_format = (enum log_format)value;
}

void read_log(struct reader *reader, const config_setting_t *setting, void *target)
{
	static const struct field fields[] = {
		{"level", read_log_level, NULL},
		{"format", read_log_format, NULL},
	};
	read_group(reader, setting, fields, COUNT_OF(fields), target);
}
