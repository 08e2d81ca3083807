/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A guest without an operating system: at each tick it calls writer.c. */
#define HZ 100
#include "start.S"

main:
    sti
    hlt
    cli
    call    work
    jmp     main

    .section .note.GNU-stack, "", @progbits
