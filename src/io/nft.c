/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nft.h"

#include <nftables/libnftables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ruleset.h"
#include "ruleset_changes.h"
#include "ruleset_egress.h"
#include "xt_queue.h"

struct nft {
	struct nft_ctx *context;
	bool native_queue;
	bool present;    /* there is a table of ours in the kernel */
	char *installed; /* that table as text; NULL: none, or not known to be whole */
};

/* libnftables reports a place in the text and marks it with carets: the first line is what matters.
 */
static void first_line(char error[static NFT_ERROR_SIZE], const char *text)
{
	size_t length = strcspn(text, "\n");

	if (length == 0)
		text = "libnftables gave no reason", length = strlen(text);
	snprintf(error, NFT_ERROR_SIZE, "nftables: %.*s", (int)length, text);
}

static bool run(struct nft *nft, const char *commands, char error[static NFT_ERROR_SIZE])
{
	if (nft_run_cmd_from_buffer(nft->context, commands) == 0)
		return true;
	first_line(error, nft_ctx_get_error_buffer(nft->context));
	return false;
}

/* Whether the kernel has the queue statement; asked by a trial that changes nothing. */
static bool has_native_queue(struct nft *nft)
{
	char error[NFT_ERROR_SIZE];

	nft_ctx_set_dry_run(nft->context, true);
	bool native = run(
		nft, "table inet " RULESET_TABLE "_trial { chain trial { queue to 0; }; }", error);
	nft_ctx_set_dry_run(nft->context, false);
	return native;
}

struct nft *nft_open(void)
{
	struct nft *nft = calloc(1, sizeof(*nft));
	if (nft == NULL)
		return NULL;
	nft->context = nft_ctx_new(NFT_CTX_DEFAULT);
	if (nft->context == NULL) {
		free(nft);
		return NULL;
	}
	nft_ctx_buffer_output(nft->context);
	nft_ctx_buffer_error(nft->context);
	nft->native_queue = has_native_queue(nft);
	return nft;
}

void nft_close(struct nft *nft)
{
	if (nft == NULL)
		return;
	nft_ctx_free(nft->context);
	free(nft->installed);
	free(nft);
}

bool nft_native_queue(const struct nft *nft)
{
	return nft->native_queue;
}

bool nft_present(const struct nft *nft)
{
	return nft->present;
}

bool nft_whole(const struct nft *nft)
{
	return nft->installed != NULL;
}

static void memory_short(char error[static NFT_ERROR_SIZE])
{
	snprintf(error, NFT_ERROR_SIZE, "nftables: out of memory");
}

/* Ends what open_memstream began. Returns the text, or NULL when memory was short. */
static char *finish_text(FILE *stream, char **text)
{
	bool written = ferror(stream) == 0;

	if (fclose(stream) == 0 && written)
		return *text;
	free(*text);
	*text = NULL;
	return NULL;
}

static char *table_text(const struct config *config, bool native_queue, bool held)
{
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	if (stream == NULL)
		return NULL;
	if (held)
		ruleset_write_held(stream, config, native_queue);
	else
		ruleset_write(stream, config, native_queue);
	return finish_text(stream, &text);
}

static void set_installed(struct nft *nft, char *text)
{
	free(nft->installed);
	nft->installed = text;
}

/* Adding it first makes deleting it right whether or not a crash left one behind. */
#define REMOVE_TABLE "table inet " RULESET_TABLE "\ndelete table inet " RULESET_TABLE "\n"

static bool replace_table(struct nft *nft, const char *text, char error[static NFT_ERROR_SIZE])
{
	char *commands;

	if (asprintf(&commands, "%s%s", REMOVE_TABLE, text) < 0) {
		memory_short(error);
		return false;
	}
	bool done = run(nft, commands, error);
	free(commands);
	return done;
}

/* Where that fails some are empty: what they should ask about stays closed until all is installed
 * anew. */
static bool fill_queue_chains(struct nft *nft, const struct queue_chain *chains, size_t count,
			      char error[static NFT_ERROR_SIZE])
{
	if (xt_queue_install(RULESET_TABLE, chains, count, error))
		return true;
	set_installed(nft, NULL);
	return false;
}

/* One transaction from what is installed to text, which is freed in any case. */
static bool change_to(struct nft *nft, char *text, char error[static NFT_ERROR_SIZE])
{
	char *commands = NULL;
	char *result = NULL;
	size_t size;
	FILE *stream = text != NULL ? open_memstream(&commands, &size) : NULL;
	bool done = false;

	memory_short(error);
	if (stream != NULL) {
		bool written = ruleset_changes(nft->installed, text, stream, &result);
		done = finish_text(stream, &commands) != NULL && written &&
		       run(nft, commands, error);
	}
	free(commands);
	free(text);
	if (done)
		set_installed(nft, result);
	else
		free(result);
	return done;
}

/* What is installed, with those of the queue chains that it lacks. */
static char *with_queue_chains(const char *installed, const struct queue_chain *chains,
			       size_t count)
{
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	if (stream == NULL)
		return NULL;
	fputs(installed, stream);
	for (size_t i = 0; i < count; i++)
		ruleset_write_queue_chain(stream, &chains[i], false);
	return finish_text(stream, &text);
}

/* Without a queue statement, new queue chains are made and filled before any rule leads there. */
static bool prepare_queue_chains(struct nft *nft, const struct config *config,
				 char error[static NFT_ERROR_SIZE])
{
	struct queue_chain chains[QUEUE_CHAINS_MAX];
	size_t count = ruleset_queue_chains(config, chains);
	size_t missing = 0;

	for (size_t i = 0; i < count; i++)
		if (!ruleset_has_chain(nft->installed, chains[i].name))
			chains[missing++] = chains[i];
	if (nft->native_queue || missing == 0)
		return true;
	return change_to(nft, with_queue_chains(nft->installed, chains, missing), error) &&
	       fill_queue_chains(nft, chains, missing, error);
}

/* New chains are there with their rules before anything leads to them: see ruleset_additions. */
static bool prepare_chains(struct nft *nft, const char *text, char error[static NFT_ERROR_SIZE])
{
	char *prepared = NULL;

	memory_short(error);
	if (!ruleset_additions(nft->installed, text, &prepared))
		return false;
	return prepared == NULL || change_to(nft, prepared, error);
}

/* The held table becomes the one that config asks for. Where that fails it is as if it were not
 * whole. */
static bool release(struct nft *nft, const struct config *config, char error[static NFT_ERROR_SIZE])
{
	if (change_to(nft, table_text(config, nft->native_queue, false), error))
		return true;
	set_installed(nft, NULL);
	return false;
}

bool nft_install(struct nft *nft, const struct config *config, char error[static NFT_ERROR_SIZE])
{
	struct queue_chain chains[QUEUE_CHAINS_MAX];
	bool held = ruleset_egress_needs_hold(config, NULL);
	char *text = table_text(config, nft->native_queue, held);

	if (text == NULL) {
		memory_short(error);
		return false;
	}
	if (!replace_table(nft, text, error)) {
		free(text);
		return false;
	}
	nft->present = true;
	set_installed(nft, text);
	if (!nft->native_queue &&
	    !fill_queue_chains(nft, chains, ruleset_queue_chains(config, chains), error))
		return false;
	return !held || release(nft, config, error);
}

bool nft_update(struct nft *nft, const struct config *config, char error[static NFT_ERROR_SIZE])
{
	if (nft->installed == NULL)
		return nft_install(nft, config, error);
	bool held = ruleset_egress_needs_hold(config, nft->installed);
	char *text = table_text(config, nft->native_queue, held);
	memory_short(error);
	if (text == NULL || !prepare_queue_chains(nft, config, error) ||
	    !prepare_chains(nft, text, error)) {
		free(text);
		return false;
	}
	return change_to(nft, text, error) && (!held || release(nft, config, error));
}

bool nft_remove(struct nft *nft, char error[static NFT_ERROR_SIZE])
{
	set_installed(nft, NULL);
	nft->present = !run(nft, REMOVE_TABLE, error);
	return !nft->present;
}
