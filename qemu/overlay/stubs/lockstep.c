/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lockstep: for programs and builds without the replay engine */
#include "qemu/osdep.h"
#include "system/lockstep.h"
#include "system/lockstep-hooks.h"

bool lockstep_enabled(void)
{
    return false;
}

LockstepState lockstep_state(void)
{
    return LOCKSTEP_NONE;
}

uint64_t lockstep_output_position(void)
{
    return 0;
}

bool lockstep_may_release(uint64_t position)
{
    return true;
}

void lockstep_add_release_notifier(Notifier *n)
{
}

void lockstep_held_add(int64_t bytes)
{
}

void lockstep_output(LockstepOutput kind, uint32_t source,
                     const void *buf, size_t length)
{
}

void lockstep_output_crc(LockstepOutput kind, uint32_t source,
                         uint64_t length, uint32_t crc)
{
}

void lockstep_diverged(const char *fmt, ...)
{
    abort();
}

void lockstep_request_begin(LockstepRequest *req)
{
}

void lockstep_request_done(LockstepRequest *req, const void *payload,
                           size_t length)
{
    req->run(req, payload, length);
}

void lockstep_register_part(LockstepPart *part)
{
}

void lockstep_trace_output(LockstepOutput kind, uint32_t source,
                           uint64_t position, uint64_t length)
{
}

void lockstep_option(const char *qom_type)
{
}

void lockstep_configure(void)
{
}

void lockstep_machine_done(void)
{
}

void lockstep_process_exit(int status)
{
}

bool lockstep_clock_is_raw(void)
{
    return false;
}

int64_t lockstep_host_clock_offset(void)
{
    return 0;
}

int64_t lockstep_deadline_clock(QEMUClockType type)
{
    return qemu_clock_get_ns(type);
}

bool lockstep_ignores_deadline(QEMUClockType type)
{
    return false;
}

void lockstep_section_begin(void)
{
}

void lockstep_section_end(void)
{
}

bool lockstep_timers_begin(QEMUClockType type, int64_t first_expires)
{
    return true;
}

void lockstep_timers_end(QEMUClockType type)
{
}

bool lockstep_work_begin(void)
{
    return false;
}

void lockstep_work_end(bool locked)
{
}

bool lockstep_shutdown_request(ShutdownCause reason)
{
    return false;
}

bool lockstep_reset_request(ShutdownCause reason)
{
    return false;
}

bool lockstep_powerdown_request(void)
{
    return false;
}

bool lockstep_suspend_request(void)
{
    return false;
}

bool lockstep_hides_events(void)
{
    return false;
}

bool lockstep_looks_paused(void)
{
    return false;
}

const char *lockstep_refuses_hmp(const char *line)
{
    return NULL;
}

bool lockstep_refuses_qmp(const char *name, Error **errp)
{
    return false;
}

bool lockstep_cloning(void)
{
    return false;
}

bool lockstep_incoming(void)
{
    return false;
}

void lockstep_clone_stops(void)
{
}

bool lockstep_clone_stopped(void)
{
    return true;
}

void lockstep_clone_saved(void)
{
}

bool lockstep_clone_ended(bool ok)
{
    return false;
}

void lockstep_incoming_loaded(void)
{
}

void lockstep_incoming_failed(const char *why)
{
}
