/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * privileges.c - give up what an agent does not need
 *
 * See docs/decisions/0001-agent-privileges.md. The agent has no user of its
 * own yet. But it gives up the capabilities of root, all but the few below,
 * for good: neither the process nor what it might be tricked into executing
 * can get them back.
 */
#include "agent/agent.h"

#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* KILL: QEMU may run as another user, and a fenced one must die.
 * DAC_OVERRIDE: its socket, and the arbiter's folder, may be another's.
 * CHOWN: clone.sock is given to QEMU's user. */
#define KEEP (1u << CAP_KILL | 1u << CAP_DAC_OVERRIDE | 1u << CAP_CHOWN)

int agent_drop_privileges(struct ft_err *err)
{
    struct __user_cap_header_struct head = {
        .version = _LINUX_CAPABILITY_VERSION_3,
    };
    struct __user_cap_data_struct data[2];

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return ft_err_sys(err, errno, "no_new_privs");
    }
    for (unsigned cap = 0; cap < 64; cap++) {
        if (cap > 31 || !(KEEP & 1u << cap)) {
            /* Without SETPCAP (not root) there is nothing to drop. */
            prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
        }
    }
    if (syscall(SYS_capget, &head, data) < 0) {
        return ft_err_sys(err, errno, "capget");
    }
    data[0].effective &= KEEP;
    data[0].permitted &= KEEP;
    data[0].inheritable = 0;
    data[1].effective = data[1].permitted = data[1].inheritable = 0;
    if (syscall(SYS_capset, &head, data) < 0) {
        return ft_err_sys(err, errno, "capset");
    }
    return 0;
}
