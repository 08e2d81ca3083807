/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest without an operating system that divides with the x87, halts until
 * the next tick of the timer, and then prints a count, and the selectors of
 * the instruction and of its operand added up.
 */
#define HZ 100
#include "start.S"

main:
    fninit
    xor     %edi, %edi
again:
    flds    one
    fdivs   three
    fstps   third
    sti
    hlt
    cli
    fnstenv environment
    fldenv  environment
    inc     %edi
    mov     %edi, %eax
    mov     $' ', %bl
    call    print
    movzwl  environment + 16, %eax
    add     environment + 24, %ax
    mov     $10, %bl
    call    print
    jmp     again

    .section .data
one:
    .float  1
three:
    .float  3

    .section .bss
third:
    .skip   4
environment:
    .skip   28
