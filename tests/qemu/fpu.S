/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest without an operating system that divides with the x87 and with SSE,
 * halts until the next tick of the timer, and then prints a count, the
 * selectors of the x87's instruction and of its operand added up, and MXCSR,
 * in which SSE has raised the inexact exception.
 */
#define HZ 100
#include "start.S"

main:
    mov     %cr4, %eax
    or      $0x600, %eax            /* SSE and its exceptions */
    mov     %eax, %cr4
    fninit
    xor     %edi, %edi
again:
    flds    one
    fdivs   three
    fstps   third
    ldmxcsr clean
    movss   one, %xmm0
    divss   three, %xmm0
    sti
    hlt
    cli
    fnstenv environment
    fldenv  environment
    stmxcsr mxcsr
    inc     %edi
    mov     %edi, %eax
    mov     $' ', %bl
    call    print
    movzwl  environment + 16, %eax
    add     environment + 24, %ax
    call    print
    mov     mxcsr, %eax
    mov     $10, %bl
    call    print
    jmp     again

    .section .data
one:
    .float  1
three:
    .float  3
clean:
    .long   0x1f80                  /* masked, none raised */

    .section .bss
third:
    .skip   4
environment:
    .skip   28
mxcsr:
    .skip   4
