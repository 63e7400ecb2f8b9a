/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "core/secret.h"

static void warn_of_readers(void)
{
	struct stat status;

	if (fstat(STDOUT_FILENO, &status) == 0 && S_ISREG(status.st_mode) &&
	    (status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		fputs("knockctl genkey: warning: the file may be read by others; "
		      "run 'umask 077' first\n",
		      stderr);
}

static bool print_secret(const struct secret *secret)
{
	char text[2 * SECRET_SIZE + 1];

	for (size_t i = 0; i < SECRET_SIZE; i++) {
		static const char digits[] = "0123456789abcdef";
		text[2 * i] = digits[secret->bytes[i] >> 4];
		text[2 * i + 1] = digits[secret->bytes[i] & 15];
	}
	text[2 * SECRET_SIZE] = '\0';
	bool printed = printf("h:%s\n", text) > 0 && fflush(stdout) == 0;
	secret_wipe(text, sizeof(text));
	return printed;
}

int genkey_main(int argc, char **argv)
{
	struct secret secret;

	if (argc == 2 && strcmp(argv[1], "--help") == 0) {
		puts("Usage: knockctl genkey\n"
		     "Prints 64 random bytes in the notation h:, for 'secret' in knockgw.conf.");
		return STATUS_FINE;
	}
	if (argc > 1)
		return complain("genkey", "unexpected argument '%s'", argv[1]);
	warn_of_readers();
	if (getrandom(secret.bytes, SECRET_SIZE, 0) != SECRET_SIZE) {
		complain("genkey", "no random bytes: %s", strerror(errno));
		return STATUS_FAILED;
	}
	bool printed = print_secret(&secret);
	secret_wipe(&secret, sizeof(secret));
	return printed ? STATUS_FINE : STATUS_FAILED;
}
