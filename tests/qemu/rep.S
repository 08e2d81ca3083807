/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest without an operating system: repeated string instructions on RAM,
 * on MMIO whose value is the virtual clock, and on ports, with a timer
 * interrupt running. It prints, for each, how far the virtual clock moved
 * (which with icount is what the instructions count) and what was moved, as
 * hexadecimal words, one line each, and ends through isa-debug-exit.
 *
 * Multiboot; 32-bit protected mode, flat segments, no paging.
 */
    .set    COM1, 0x3f8
    .set    HPET, 0xfed00000
    .set    VRAM, 0xa0000
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
    /* 8254: channel 0, rate generator, about 10 kHz */
    mov     $0x34, %al
    out     %al, $0x43
    mov     $119, %al
    out     %al, $0x40
    mov     $0, %al
    out     %al, $0x40

    /* HPET on, so that its counter reads the virtual clock */
    movl    $1, HPET + 0x10
    cld
    sti

    /* 1: fill RAM, a length that is no multiple of 64 K */
    call    begin
    mov     $BUF, %edi
    mov     $200000, %ecx
    mov     $0x5a, %al
    rep     stosb
    call    end                             /* line "T delta" */
    mov     %edi, %eax
    call    print

    /* 2: copy RAM to RAM, backwards */
    call    begin
    std
    mov     $BUF + 65535, %esi
    mov     $BUF + 0x100000 + 65535, %edi
    mov     $65536, %ecx
    rep     movsb
    cld
    call    end
    mov     BUF + 0x100000, %eax
    call    print

    /* 3: read MMIO that is the clock, 128 words; sum the non-clock ones */
    call    begin
    mov     $HPET, %esi
    mov     $BUF, %edi
    mov     $128, %ecx
    rep     movsl
    call    end
    mov     BUF + 0xf0, %eax
    call    print
    mov     %ecx, %eax
    call    print

    /* 4: write MMIO (video memory in planar mode), then compare */
    call    begin
    mov     $VRAM, %edi
    mov     $4096, %ecx
    mov     $0x01020304, %eax
    rep     stosl
    call    end
    call    begin
    mov     $VRAM, %esi
    mov     $BUF, %edi
    mov     $4096, %ecx
    repne   cmpsl
    call    end
    mov     %ecx, %eax
    call    print

    /* 5: ports: in from the timer's counter, out to the serial line */
    call    begin
    mov     $0x40, %dx
    mov     $BUF, %edi
    mov     $64, %ecx
    rep     insb
    call    end
    mov     BUF, %eax
    call    print
    mov     $COM1, %dx
    mov     $text, %esi
    mov     $text_end - text, %ecx
    rep     outsb

    /* 6: the timer interrupts a loop of fills */
    call    begin
    mov     $500, %ebx
2:  mov     $BUF, %edi
    mov     $30000, %ecx
    rep     stosb
    dec     %ebx
    jnz     2b
    call    end
    /* and a spin with PAUSE until 100 ticks have passed */
3:  pause
    cmpl    $100, ticks
    jb      3b
    call    end
    cli
    mov     ticks, %eax
    call    print

    mov     $0, %al
    mov     $0x501, %dx
    out     %al, %dx
4:  hlt
    jmp     4b

begin:
    rdtsc
    mov     %eax, started
    ret
end:
    rdtsc
    sub     started, %eax
    /* fall through */
print:
    pusha
    mov     %eax, %ebx
    mov     $8, %ecx
1:  rol     $4, %ebx
    mov     %ebx, %eax
    and     $15, %eax
    mov     digits(%eax), %al
    mov     $COM1, %dx
    out     %al, %dx
    loop    1b
    mov     $10, %al
    out     %al, %dx
    popa
    ret

tick:
    push    %eax
    incl    ticks
    mov     $0x20, %al
    out     %al, $0x20
    pop     %eax
    iret

    .section .data
digits: .ascii  "0123456789abcdef"
text:   .ascii  "outs done\n"
text_end:
    .align  8
gdt:
    .quad   0
    .quad   0x00cf9a000000ffff
    .quad   0x00cf92000000ffff
gdt_ptr:
    .word   23
    .long   gdt
idt_ptr:
    .word   0x21 * 8 - 1
    .long   idt

    .section .bss
    .align  16
idt:    .space  0x21 * 8
ticks:  .space  4
started: .space 4
    .space  4096
stack:
