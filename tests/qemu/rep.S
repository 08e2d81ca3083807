/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest without an operating system: repeated string instructions on RAM,
 * on MMIO whose value is the virtual clock, and on ports, with a timer
 * interrupt running. It prints, for each, how far the virtual clock moved
 * (which with icount is what the instructions count) and what was moved, as
 * hexadecimal words, one line each, and ends through isa-debug-exit.
 */
#define HZ 10000
#include "start.S"
    .set    HPET, 0xfed00000
    .set    VRAM, 0xa0000
    .set    BUF, 0x400000

main:
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
    call    line

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
    call    line

    /* 3: read MMIO that is the clock, 128 words; sum the non-clock ones */
    call    begin
    mov     $HPET, %esi
    mov     $BUF, %edi
    mov     $128, %ecx
    rep     movsl
    call    end
    mov     BUF + 0xf0, %eax
    call    line
    mov     %ecx, %eax
    call    line

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
    call    line

    /* 5: ports: in from the timer's counter, out to the serial line */
    call    begin
    mov     $0x40, %dx
    mov     $BUF, %edi
    mov     $64, %ecx
    rep     insb
    call    end
    mov     BUF, %eax
    call    line
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
    call    line

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
line:
    push    %ebx
    mov     $10, %bl
    call    print
    pop     %ebx
    ret

    .section .data
text:
    .ascii  "outs done\n"
text_end:

    .section .bss
started:
    .skip   4
