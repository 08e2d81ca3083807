/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How the guests without an operating system start. Included first; they go on
 * at `main` with interrupts off, HZ timer interrupts a second (1000 / HZ must
 * not exceed 54 ms), which `tick` counts in `ticks`, and COM1 at 115200 baud.
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

    /* 8254: channel 0, rate generator */
    mov     $0x34, %al
    out     %al, $0x43
    mov     $((1193182 / HZ) & 0xff), %al
    out     %al, $0x40
    mov     $((1193182 / HZ) >> 8), %al
    out     %al, $0x40

    /* 16550: divisor 1, 8 bits */
    mov     $0x83, %al
    mov     $COM1 + 3, %dx
    out     %al, %dx
    mov     $1, %al
    mov     $COM1, %dx
    out     %al, %dx
    mov     $0, %al
    mov     $COM1 + 1, %dx
    out     %al, %dx
    mov     $3, %al
    mov     $COM1 + 3, %dx
    out     %al, %dx
    jmp     main

tick:
    push    %eax
    incl    ticks
    mov     $0x20, %al
    out     %al, $0x20
    pop     %eax
    iret

/* %al to the serial port */
put:
    push    %edx
    mov     %al, %ah
    mov     $COM1 + 5, %dx
1:  in      %dx, %al
    test    $0x20, %al
    jz      1b
    mov     %ah, %al
    mov     $COM1, %dx
    out     %al, %dx
    pop     %edx
    ret

/* %eax as eight hexadecimal digits, then the byte in %bl */
print:
    pusha
    mov     %eax, %ebp
    mov     $8, %ecx
1:  rol     $4, %ebp
    mov     %ebp, %eax
    and     $15, %eax
    mov     digits(%eax), %al
    call    put
    loop    1b
    mov     %bl, %al
    call    put
    popa
    ret

    .section .data
digits:
    .ascii  "0123456789abcdef"
    .align  8
gdt:
    .quad   0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdt_ptr:
    .word   . - gdt - 1
    .long   gdt
idt_ptr:
    .word   0x24 * 8 - 1
    .long   idt

    .section .bss
    .align  16
idt:
    .skip   0x24 * 8
ticks:
    .skip   4
    .align  16
    .skip   4096
stack:

    .section .text
