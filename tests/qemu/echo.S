/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest without an operating system: it sends a > to COM1 when it is ready;
 * from then on what COM2 receives to COM1, and back to COM2. FCR is what the second UART's FIFO register gets, 0 for a
 * UART without FIFO. Without input it halts.
 */
#define HZ 100
#include "start.S"
    .set    COM2, 0x2f8

main:
    mov     $input, %eax
    mov     %ax, idt + 0x23 * 8
    movw    $8, idt + 0x23 * 8 + 2
    movw    $0x8e00, idt + 0x23 * 8 + 4
    shr     $16, %eax
    mov     %ax, idt + 0x23 * 8 + 6
    mov     $0xf6, %al              /* the timer, COM2 */
    out     %al, $0x21

    mov     $FCR, %al
    mov     $COM2 + 2, %dx
    out     %al, %dx
    mov     $1, %al                 /* an interrupt when there is input */
    mov     $COM2 + 1, %dx
    out     %al, %dx
    mov     $'>', %al
    call    put

again:
    cli
    mov     $COM2 + 5, %dx
    in      %dx, %al
    test    $1, %al
    jnz     1f
    sti
    hlt
    jmp     again
1:  mov     $COM2, %dx
    in      %dx, %al
    out     %al, %dx
    call    put
    jmp     again

input:
    push    %eax
    mov     $0x20, %al
    out     %al, $0x20
    pop     %eax
    iret

    .section .note.GNU-stack, "", @progbits
