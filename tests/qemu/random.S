/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest without an operating system: it asks for random numbers without
 * end, each of which is an entry of the log, and counts and prints each 2^21st.
 */
#define HZ 20
#include "start.S"

main:
    sti
    xor     %edi, %edi
again:
    mov     $0x200000, %ecx
1:  rdrand  %eax
    loop    1b
    inc     %edi
    mov     %edi, %eax
    mov     $10, %bl
    call    print
    jmp     again

    .section .note.GNU-stack, "", @progbits
