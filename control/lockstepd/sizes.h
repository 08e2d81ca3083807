/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sizes.h - how long names may be, with their NUL */
#ifndef LOCKSTEPD_SIZES_H
#define LOCKSTEPD_SIZES_H

#include "common/host/id.h"

#define CTL_UUID UUID_STR_LEN
#define CTL_NAME 256
#define CTL_URI 512

#endif
