/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest without an operating system that sees through its TLB. It clears the
 * accessed bits of pages and lets their entries point to other frames, without
 * a flush; reads the pages, and looks which bits are set again and from which
 * frame it read; over and over with a few pages, then with PAGES of them. All
 * this is up to the processor, and must be the same on both sides of a pair. At
 * every eighth round it flushes, in each way, and then a bit that is not set is
 * an error.
 *
 * Each round it prints a count, a digest of all that it saw, and how many of
 * PAGES bits were set. It ends with the line "bad" when the processor did what
 * none may do.
 *
 * The gate of the timer's interrupt is in a page that is never present. So each
 * interrupt that is taken ends in a page fault, whose handler counts it.
 */
#define HZ 1000
#include "start.S"
    .set    PAGES, 2304
    .set    RING, 9                     /* pages, 1 MB apart */
    .set    DIRECTORY, 0x820000
    .set    TABLES, 0x810000            /* three for the window, the IDT's */
    .set    FRAMES, 0x900000            /* two times 256 pages */
    .set    SWAP, 0x100000              /* from one set to the other */
    .set    WINDOW, 0x40000000
    .set    IDT, 0x40c31000 - 0x20 * 8
    .set    IDT_FRAME, 0x830000
    .set    LARGE, 0xc00000             /* used for nothing else */
    .set    A, 0x20
    .set    D, 0x40

main:
    cld
    /* 16 MB as large pages, one to one */
    mov     $DIRECTORY, %edi
    mov     $0x83, %eax
    mov     $4, %ecx
1:  stosl
    add     $0x400000, %eax
    loop    1b
    movl    $TABLES + 3, DIRECTORY + 256 * 4
    movl    $TABLES + 0x1003, DIRECTORY + 257 * 4
    movl    $TABLES + 0x2003, DIRECTORY + 258 * 4
    movl    $TABLES + 0x3003, DIRECTORY + 259 * 4

    /* the window: page n shows frame n mod 256, which begins with n mod 256 */
    xor     %ecx, %ecx
1:  movzbl  %cl, %eax
    shl     $12, %eax
    mov     %ecx, FRAMES(%eax)
    movl    $77, FRAMES + SWAP(%eax)
    add     $FRAMES + 3, %eax
    mov     %eax, TABLES(, %ecx, 4)
    inc     %ecx
    cmp     $PAGES, %ecx
    jb      1b

    /* the IDT: the gates up to the timer's in one page, that in the next */
    movl    $IDT_FRAME + 3, TABLES + 0x30c0
    mov     $fault, %eax
    mov     $IDT_FRAME + 0x1000 - (0x20 - 14) * 8, %edi
    mov     %ax, (%edi)
    movw    $8, 2(%edi)
    movw    $0x8e00, 4(%edi)
    shr     $16, %eax
    mov     %ax, 6(%edi)

    mov     $DIRECTORY, %eax
    mov     %eax, %cr3
    mov     $0x10, %eax                 /* PSE */
    mov     %eax, %cr4
    mov     %cr0, %eax
    or      $0x80010000, %eax           /* PG, WP */
    mov     %eax, %cr0
    lidt    paged_idt
    sti

round:
    /*
     * Pages that share a slot of QEMU's TLB with this code: it holds them all,
     * as long as it does not look for the code.
     */
    mov     $30000, %ebp
1:  mov     $WINDOW, %esi
    mov     $RING, %ecx
2:  add     (%esi), %edi
    add     $0x100000, %esi
    dec     %ecx
    jnz     2b
    mov     $TABLES, %esi
    mov     $RING, %ecx
3:  mov     (%esi), %eax
    andl    $~A, (%esi)
    xorl    $SWAP, (%esi)
    and     $A, %eax
    rol     $3, %edi
    add     %eax, %edi
    add     $0x400, %esi
    dec     %ecx
    jnz     3b
    dec     %ebp
    jnz     1b
    mov     %edi, %eax
    call    mix

    mov     $~A, %edx
    call    clear
    call    read
    call    accessed
    call    mix
    mov     %eax, seen
    /* other frames */
    xor     %ecx, %ecx
1:  xorl    $SWAP, TABLES(, %ecx, 4)
    inc     %ecx
    cmp     $PAGES, %ecx
    jb      1b
    call    read
    call    mix

    incl    rounds
    testb   $7, rounds
    jnz     2f
    call    flushes
2:  mov     rounds, %eax
    mov     $' ', %bl
    call    print
    mov     digest, %eax
    call    print
    mov     seen, %eax
    mov     $10, %bl
    call    print
    jmp     round

/* Clear the bits ~%edx of all entries. */
clear:
    xor     %ecx, %ecx
1:  and     %edx, TABLES(, %ecx, 4)
    inc     %ecx
    cmp     $PAGES, %ecx
    jb      1b
    ret

/* The sum of the pages' first words. */
read:
    mov     $WINDOW, %esi
    mov     $PAGES, %ecx
    xor     %eax, %eax
1:  add     (%esi), %eax
    add     $0x1000, %esi
    loop    1b
    ret

/* How many entries have a bit of A, or of %edx at `marked`. */
accessed:
    mov     $A, %edx
marked:
    xor     %ecx, %ecx
    xor     %eax, %eax
1:  test    %edx, TABLES(, %ecx, 4)
    jz      2f
    inc     %eax
2:  inc     %ecx
    cmp     $PAGES, %ecx
    jb      1b
    ret

mix:
    mov     digest, %edx
    rol     $5, %edx
    add     %eax, %edx
    mov     %edx, digest
    ret

/* What the architecture promises after a flush. */
flushes:
    /* CR3: all are walked again */
    mov     $~(A + D), %edx
    call    clear
    mov     %cr3, %eax
    mov     %eax, %cr3
    call    read
    call    accessed
    cmp     $PAGES, %eax
    jne     bad
    /* a store to a page that was read while clean sets its dirty bit */
    mov     $WINDOW, %esi
    mov     $PAGES, %ecx
1:  mov     (%esi), %eax
    mov     %eax, (%esi)
    add     $0x1000, %esi
    loop    1b
    mov     $D, %edx
    call    marked
    cmp     $PAGES, %eax
    jne     bad
    /* INVLPG of the first 64, then a store */
    mov     $~(A + D), %edx
    call    clear
    mov     $WINDOW, %esi
    mov     $64, %ecx
1:  invlpg  (%esi)
    mov     (%esi), %eax
    mov     %eax, (%esi)
    add     $0x1000, %esi
    loop    1b
    xor     %ecx, %ecx
1:  mov     TABLES(, %ecx, 4), %eax
    and     $A + D, %al
    cmp     $A + D, %al
    jne     bad
    inc     %ecx
    cmp     $64, %ecx
    jb      1b
    /* a large page, flushed by one address of it, read at others */
    mov     LARGE + 0x300000, %eax
    andl    $~A, DIRECTORY + 3 * 4
    invlpg  LARGE + 0x12000
    mov     LARGE + 0x300000, %eax
    testl   $A, DIRECTORY + 3 * 4
    jz      bad
    /* turning CR4.PGE on and off */
    mov     $~A, %edx
    call    clear
    mov     %cr4, %eax
    xor     $0x80, %eax
    mov     %eax, %cr4
    call    read
    call    accessed
    cmp     $PAGES, %eax
    jne     bad
    /* paging off and on */
    mov     $~A, %edx
    call    clear
    mov     %cr0, %eax
    and     $0x7fffffff, %eax
    cli
    mov     %eax, %cr0
    or      $0x80000000, %eax
    mov     %eax, %cr0
    sti
    call    read
    call    accessed
    cmp     $PAGES, %eax
    jne     bad
    ret

fault:
    pusha
    mov     %cr2, %eax
    shr     $12, %eax
    cmp     $0x40c31, %eax
    jne     bad
    incl    ticks
    mov     ticks, %eax
    call    mix
    mov     $0x20, %al
    out     %al, $0x20
    popa
    add     $4, %esp
    iret

bad:
    mov     $wrong, %esi
1:  lodsb
    call    put
    cmpb    $0, (%esi)
    jne     1b
1:  cli
    hlt
    jmp     1b

    .section .data
wrong:
    .asciz  "\nbad\n"
paged_idt:
    .word   0x21 * 8 - 1
    .long   IDT

    .section .bss
rounds:
    .skip   4
digest:
    .skip   4
seen:
    .skip   4
