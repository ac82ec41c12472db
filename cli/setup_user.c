// SPDX-License-Identifier: ISC
#include "cli/setup.h"

#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GROUPS_MAX 256

/* Who the process was before ia_user_become. */
static struct {
    bool changed;
    gid_t groups[GROUPS_MAX];
    int n_groups;
    char *home;
} before;

bool ia_user_find(const char *name, struct ia_user *out)
{
    const struct passwd *found = getpwnam(name); // NOLINT(concurrency-mt-unsafe): one thread
    char *home = found ? strdup(found->pw_dir) : NULL;
    if (!home)
        return false;
    *out = (struct ia_user){.name = name, .uid = found->pw_uid, .gid = found->pw_gid, .home = home};
    return true;
}

/* HOME too: libpq looks for files there, and another user's home that cannot be read is an error to it. */
bool ia_user_become(const struct ia_user *user)
{
    const char *home = getenv("HOME");
    if (!user || user->uid == geteuid())
        return true;
    before.n_groups = getgroups(GROUPS_MAX, before.groups);
    before.home = home ? strdup(home) : NULL;
    before.changed = true;
    if (before.n_groups >= 0 && initgroups(user->name, user->gid) == 0 && setegid(user->gid) == 0 &&
        seteuid(user->uid) == 0 && setenv("HOME", user->home, 1) == 0)
        return true;
    ia_user_return();
    return false;
}

/* If the old user cannot be restored, the process must not continue with part of its rights. */
void ia_user_return(void)
{
    if (!before.changed)
        return;
    before.changed = false;
    bool returned = seteuid(getuid()) == 0 && setegid(getgid()) == 0 &&
                    (before.n_groups < 0 || setgroups((size_t)before.n_groups, before.groups) == 0) &&
                    (before.home ? setenv("HOME", before.home, 1) : unsetenv("HOME")) == 0;
    free(before.home);
    before.home = NULL;
    if (!returned)
        abort();
}
