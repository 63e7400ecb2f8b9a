/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Gives a fuzz target the files of its corpus, one after the other: those of the directories or
 * files that are named, or those of the target's own corpus. */
#include <dirent.h>
#include <libgen.h>
#include <sys/stat.h>

#include "fuzz.h"

static unsigned int replayed;

static void replay_file(const char *path)
{
	FILE *stream = fopen(path, "rb");
	struct stat status;

	if (stream == NULL || fstat(fileno(stream), &status) != 0) {
		perror(path);
		exit(EXIT_FAILURE);
	}
	/* Exactly as large as the input, so that the address sanitizer sees one byte too many. */
	size_t size = (size_t)status.st_size;
	uint8_t *bytes = malloc(size > 0 ? size : 1);
	if (bytes == NULL || fread(bytes, 1, size, stream) != size) {
		perror(path);
		exit(EXIT_FAILURE);
	}
	fclose(stream);
	fprintf(stderr, "%s\n", path);
	LLVMFuzzerTestOneInput(bytes, size);
	free(bytes);
	replayed++;
}

static void replay_path(const char *path)
{
	DIR *folder = opendir(path);
	const struct dirent *entry;
	char name[4096];

	if (folder == NULL) {
		replay_file(path);
		return;
	}
	while ((entry = readdir(folder)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		replay_file(name);
	}
	closedir(folder);
}

int main(int argc, char **argv)
{
	char path[4096];
	const char *name = basename(argv[0]);

	for (int i = 1; i < argc; i++)
		replay_path(argv[i]);
	if (argc == 1) {
		/* fuzz-NAME */
		snprintf(path, sizeof(path), "%s/%s", FUZZ_CORPUS_DIR, name + strlen("fuzz-"));
		replay_path(path);
	}
	printf("%s: %u inputs\n", name, replayed);
	return replayed > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
