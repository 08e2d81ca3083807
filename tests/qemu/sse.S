/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest without an operating system: it clears MXCSR, divides 1 by 3, which
 * raises the inexact exception, and much later prints MXCSR as eight
 * hexadecimal digits and a line feed on COM1; again and again. For nearly all
 * of its time the exception is raised and was not looked at.
 *
 * Multiboot; 32-bit protected mode, flat segments, no paging.
 */
    .set    COM1, 0x3f8

    .section .text
    .align  4
    .long   0x1badb002, 0, -0x1badb002      /* multiboot header */

    .globl  _start
_start:
    cli
    mov     $stack, %esp
    mov     %cr0, %eax
    and     $~4, %eax                       /* no emulation */
    mov     %eax, %cr0
    mov     %cr4, %eax
    or      $0x600, %eax                    /* SSE and its exceptions */
    mov     %eax, %cr4

again:
    ldmxcsr clean
    movss   one, %xmm0
    divss   three, %xmm0
    mov     $5000000, %ecx
1:  dec     %ecx
    jnz     1b
    stmxcsr value

    mov     value, %ebp
    mov     $8, %edi
2:  rol     $4, %ebp
    mov     %ebp, %eax
    and     $15, %eax
    movb    digits(%eax), %al
    call    put
    dec     %edi
    jnz     2b
    mov     $10, %al
    call    put
    jmp     again

/* al to the serial port */
put:
    mov     %al, %ah
    mov     $COM1 + 5, %dx
3:  in      %dx, %al
    test    $0x20, %al
    jz      3b
    mov     %ah, %al
    mov     $COM1, %dx
    out     %al, %dx
    ret

    .align  4
clean:
    .long   0x1f80                          /* masked, none raised */
one:
    .float  1
three:
    .float  3
digits:
    .ascii  "0123456789abcdef"

    .section .bss
    .align  16
value:
    .skip   16
    .skip   4096
stack:
