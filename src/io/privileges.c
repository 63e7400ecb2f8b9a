/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "privileges.h"

#include <cap-ng.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "build-config.h"
#include "log.h"

#define DEFAULT_USER "knockgw"

/* Of a user; getpwnam keeps its answer only until the next question. */
struct account {
	uid_t uid;
	gid_t gid;
	char name[64];
};

static bool account_of(const struct passwd *entry, struct account *account)
{
	if (entry == NULL)
		return false;
	*account = (struct account){.uid = entry->pw_uid, .gid = entry->pw_gid};
	snprintf(account->name, sizeof(account->name), "%s", entry->pw_name);
	return true;
}

gid_t privileges_group(const char *user)
{
	const struct passwd *entry = getpwnam(user ? user : DEFAULT_USER);

	return entry ? entry->pw_gid : (gid_t)-1;
}

void privileges_forbid_dumps(void)
{
	struct rlimit none = {0, 0};

	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	setrlimit(RLIMIT_CORE, &none);
}

void privileges_allow_inspection(void)
{
#ifdef WITH_SANITIZERS
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
#endif
}

bool privileges_hold(unsigned int capability)
{
	return capng_get_caps_process() == 0 &&
	       capng_have_capability(CAPNG_EFFECTIVE, capability) == 1;
}

/* A folder is ours when it holds nothing but what knockgw puts there. Others may be /var/lib or
 * /run themselves, by a mistake in the configuration: those must not change hands. */
static bool is_own_file(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, "lock") == 0 ||
	       strncmp(name, "flows-", strlen("flows-")) == 0;
}

static bool holds_own_files_only(DIR *directory)
{
	const struct dirent *entry;

	while ((entry = readdir(directory)) != NULL)
		if (!is_own_file(entry->d_name))
			return false;
	return true;
}

/* Files that a daemon of another user has left. A link to something else is not followed. */
static void give_files(DIR *directory, const struct account *owner)
{
	int fd = dirfd(directory);
	const struct dirent *entry;
	struct stat status;

	rewinddir(directory);
	while ((entry = readdir(directory)) != NULL)
		if (fstatat(fd, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(status.st_mode) && status.st_nlink == 1 &&
		    fchownat(fd, entry->d_name, owner->uid, owner->gid, AT_SYMLINK_NOFOLLOW) != 0)
			log_event(LOG_LEVEL_WARNING, "owner-not-changed", "file=%s reason=\"%s\"",
				  entry->d_name, strerror(errno));
}

/* Makes a folder, or takes over one of root's, for the user that the daemon becomes. Where that
 * fails, whoever needs the folder says what is wrong. */
static void give_folder(const char *path, mode_t mode, const struct account *owner)
{
	bool made = mkdir(path, mode) == 0;
	int fd = open(path, O_DIRECTORY | O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
	struct stat status;

	if (directory == NULL) {
		if (fd >= 0)
			close(fd);
		return;
	}
	if (fstat(fd, &status) == 0 && status.st_uid == 0 && owner->uid != 0 &&
	    (made || (mode == 0700 && holds_own_files_only(directory)))) {
		give_files(directory, owner);
		if (fchown(fd, owner->uid, owner->gid) == 0)
			log_event(LOG_LEVEL_INFO, "folder-given", "path=%s user=%s", path,
				  owner->name);
	}
	closedir(directory);
}

static void give_folders(const struct config *config, const struct account *owner)
{
	char *socket_folder = strdup(config->control_socket);
	char *slash = socket_folder ? strrchr(socket_folder, '/') : NULL;

	give_folder(config->state_directory, 0700, owner);
	/* Only made, never taken over: it may well be /run. */
	if (slash && slash != socket_folder) {
		*slash = '\0';
		give_folder(socket_folder, 0755, owner);
	}
	free(socket_folder);
}

/* Whom to become: maybe who we are already. */
static bool find_account(const struct config *config, struct account *account,
			 char error[static PRIVILEGES_ERROR_SIZE])
{
	const char *name = config->user ? config->user : DEFAULT_USER;

	if (!account_of(getpwuid(geteuid()), account))
		*account = (struct account){.uid = geteuid(), .gid = getegid(), .name = "?"};
	if (strcmp(account->name, name) == 0)
		return true;
	if (account->uid != 0) {
		if (config->user)
			snprintf(error, PRIVILEGES_ERROR_SIZE,
				 "only root can become user %s; start knockgw as root or as %s",
				 name, name);
		return config->user == NULL;
	}
	if (account_of(getpwnam(name), account) || !config->user)
		return true;
	snprintf(error, PRIVILEGES_ERROR_SIZE,
		 "user \"%s\" does not exist; make it, or set another user", name);
	return false;
}

/* Leaves the two network capabilities in the sets that become effective with the next call. The
 * bounding set can be reduced by those only who have CAP_SETPCAP: root, not what systemd starts. */
static bool select_capabilities(void)
{
	bool may_bound = privileges_hold(CAP_SETPCAP);
	unsigned int sets = CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET;

	capng_clear(CAPNG_SELECT_ALL);
	capng_updatev(CAPNG_ADD, (capng_type_t)sets, CAP_NET_ADMIN, CAP_NET_RAW, -1);
	return !may_bound || capng_apply(CAPNG_SELECT_BOUNDS) == 0;
}

static bool drop(const struct account *account)
{
	if (!select_capabilities())
		return false;
	if (account->uid == geteuid())
		return capng_apply(CAPNG_SELECT_AMBIENT) == 0 &&
		       capng_apply(CAPNG_SELECT_CAPS) == 0;
	return capng_change_id((int)account->uid, (int)account->gid,
			       (capng_flags_t)(CAPNG_INIT_SUPP_GRP | CAPNG_CLEAR_AMBIENT)) == 0;
}

/* The next reload must be able to read what root has read now: better told today. */
static void warn_of_reload(const struct config *config)
{
	struct diagnostics diagnostics = {0};
	char quoted[PRIVILEGES_ERROR_SIZE];
	struct config *again = config_load(config->path, &diagnostics);

	for (size_t i = 0; again == NULL && i < diagnostics.count; i++)
		if (diagnostics.list[i].error)
			log_event(LOG_LEVEL_WARNING, "reload-will-fail", "reason=%s",
				  log_quote(quoted, sizeof(quoted), diagnostics.list[i].text));
	diagnostics_free(&diagnostics);
	config_free(again);
}

static void log_result(const struct config *config, const struct account *account)
{
	if (account->uid == 0 && config->user == NULL)
		log_event(LOG_LEVEL_WARNING, "user-kept",
			  "user=root reason=\"there is no user " DEFAULT_USER
			  "\" action=\"make it, or set user = root\"");
	log_event(LOG_LEVEL_INFO, "privileges", "user=%s capabilities=net_admin,net_raw",
		  account->name);
}

void privileges_prepare(const struct config *config)
{
	char error[PRIVILEGES_ERROR_SIZE];
	struct account account;

	if (find_account(config, &account, error) && account.uid != geteuid())
		give_folders(config, &account);
}

bool privileges_suffice(char error[static PRIVILEGES_ERROR_SIZE])
{
	if (privileges_hold(CAP_NET_ADMIN) && privileges_hold(CAP_NET_RAW))
		return true;
	snprintf(error, PRIVILEGES_ERROR_SIZE,
		 "needs CAP_NET_ADMIN and CAP_NET_RAW; start knockgw as root or by its unit");
	return false;
}

bool privileges_drop(const struct config *config, char error[static PRIVILEGES_ERROR_SIZE])
{
	struct account account;
	bool changes;

	if (!find_account(config, &account, error))
		return false;
	changes = account.uid != geteuid();
	if (!drop(&account) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
		snprintf(error, PRIVILEGES_ERROR_SIZE, "cannot become user %s: %s", account.name,
			 strerror(errno));
		return false;
	}
	/* A change of user resets this. */
	privileges_forbid_dumps();
	log_result(config, &account);
	if (changes)
		warn_of_reload(config);
	return true;
}
