/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest without an operating system: at each tick of the timer (100 Hz) it
 * adds up some memory, counts, and prints the count as eight hexadecimal
 * digits and a line feed on COM1. Between ticks it halts.
 *
 * Multiboot; 32-bit protected mode, flat segments, no paging.
 */
    .set    COM1, 0x3f8
    .set    BUF, 0x400000

    .section .text
    .align  4
    .long   0x1badb002, 0, -0x1badb002      /* multiboot header */

    .globl  _start
_start:
    cli
    mov     $stack, %esp
    lgdt    gdt_ptr
    ljmp    $8, $1f
1:  mov     $16, %eax
    mov     %eax, %ds
    mov     %eax, %es
    mov     %eax, %ss

    /* gate 0x20: the timer */
    mov     $tick, %eax
    mov     %ax, idt + 0x20 * 8
    movw    $8, idt + 0x20 * 8 + 2
    movw    $0x8e00, idt + 0x20 * 8 + 4
    shr     $16, %eax
    mov     %ax, idt + 0x20 * 8 + 6
    lidt    idt_ptr

    /* 8259: vectors from 0x20, only the timer enabled */
    mov     $0x11, %al
    out     %al, $0x20
    mov     $0x20, %al
    out     %al, $0x21
    mov     $4, %al
    out     %al, $0x21
    mov     $1, %al
    out     %al, $0x21
    mov     $0xfe, %al
    out     %al, $0x21

    /* 8254: 100 times a second */
    mov     $0x34, %al
    out     %al, $0x43
    mov     $(11932 & 0xff), %al
    out     %al, $0x40
    mov     $(11932 >> 8), %al
    out     %al, $0x40

    xor     %ebx, %ebx
again:
    sti
    hlt
    cli
    mov     $BUF, %esi
    mov     $5000, %ecx
2:  add     (%esi), %edx
    mov     %edx, 4(%esi)
    add     $4, %esi
    loop    2b

    inc     %ebx
    mov     %ebx, %ebp
    mov     $8, %edi
3:  rol     $4, %ebp
    mov     %ebp, %eax
    and     $15, %eax
    movb    digits(%eax), %al
    call    put
    dec     %edi
    jnz     3b
    mov     $10, %al
    call    put
    jmp     again

/* al to the serial port */
put:
    mov     %al, %ah
    mov     $COM1 + 5, %dx
4:  in      %dx, %al
    test    $0x20, %al
    jz      4b
    mov     %ah, %al
    mov     $COM1, %dx
    out     %al, %dx
    ret

tick:
    push    %eax
    mov     $0x20, %al
    out     %al, $0x20
    pop     %eax
    iret

digits:
    .ascii  "0123456789abcdef"

    .align  8
gdt:
    .quad   0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdt_ptr:
    .word   . - gdt - 1
    .long   gdt
idt_ptr:
    .word   0x21 * 8 - 1
    .long   idt

    .section .bss
    .align  16
idt:
    .skip   0x21 * 8
    .skip   4096
stack:
