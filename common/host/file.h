/* SPDX-License-Identifier: GPL-2.0-or-later */
/* file.h - a small file that a power cut leaves whole */
#ifndef FT_HOST_FILE_H
#define FT_HOST_FILE_H

#include "common/host/err.h"

/* Write the text whole, and give it this name in place of what has it. It is on
 * the disk when this returns 0. -1: the old file stands, or the new one is not
 * on the disk for sure yet. Two threads may write the same one. */
int ft_file_replace(const char *path, const char *text, unsigned mode,
                    struct ft_err *err);

#endif
