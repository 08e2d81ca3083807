/* SPDX-License-Identifier: GPL-2.0-or-later */
/* farewell.c - let a connection go without waiting for it */
#include "role/farewell.h"

static void late_ready(struct lc_conn *c, void *arg)
{
    (void)arg;
    lc_conn_free(c);
}

static void late_frame(struct lc_conn *c, const struct lc_frame *head,
                       const struct lc_msg *m, void *arg)
{
    (void)c, (void)head, (void)m, (void)arg;
}

static void late_closed(struct lc_conn *c, const struct ft_err *why,
                        void *arg)
{
    (void)why, (void)arg;
    lc_conn_free(c);
}

static const struct lc_conn_ops late_ops = {
    late_ready, late_frame, NULL, late_closed
};

void lc_farewell(struct lc_conn **c)
{
    if (*c != NULL && lc_conn_is_ready(*c)) {
        lc_conn_set_arg(*c, &late_ops, NULL);
        lc_conn_pause(*c, false);
        lc_conn_finish(*c);
    } else {
        lc_conn_free(*c);
    }
    *c = NULL;
}
