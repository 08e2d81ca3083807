/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest without an operating system: at each tick of the timer it adds up
 * WORK words of memory, and at every LINE-th tick it counts and prints the
 * count as eight hexadecimal digits and a line feed. Between ticks it halts.
 * At count SLEEP it asks for ACPI's S3, where the BIOS has put that.
 */
#ifndef HZ
#define HZ 100
#define WORK 5000
#define LINE 1
#endif
#include "start.S"
    .set    BUF, 0x400000

main:
    xor     %edi, %edi
again:
    mov     $LINE, %ebp
1:  sti
    hlt
    cli
    mov     $BUF, %esi
    mov     $WORK, %ecx
2:  add     (%esi), %edx
    mov     %edx, 4(%esi)
    add     $4, %esi
    loop    2b
    dec     %ebp
    jnz     1b

    inc     %edi
    mov     %edi, %eax
    mov     $10, %bl
    call    print
#ifdef SLEEP
    cmp     $SLEEP, %edi
    jne     again
    mov     $0x2400, %ax
    mov     $0x604, %dx
    out     %ax, %dx
#endif
    jmp     again
