/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "secret_memory.h"

#include <stdint.h>
#include <sys/mman.h>

#include "core/secret.h"

void *secret_memory_new(size_t size, bool *locked)
{
	if (size == 0 || size > PTRDIFF_MAX)
		return NULL;
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return NULL;
	bool is_locked = mlock(memory, size) == 0;
	if (locked)
		*locked = is_locked;
	/* Older kernels lack these; the secrets are then no worse off than in ordinary memory. */
	(void)madvise(memory, size, MADV_DONTDUMP);
	(void)madvise(memory, size, MADV_WIPEONFORK);
	return memory;
}

void secret_memory_free(void *memory, size_t size)
{
	if (!memory)
		return;
	secret_wipe(memory, size);
	munmap(memory, size);
}
