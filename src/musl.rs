//! memcpy(3) and memmove(3) for a static program with musl on x86_64. musl's own functions copy even a few bytes with string instructions, which take tens of
//! cycles before the first byte. A scan copies two short names for each entry, and spent a third of its own time there (bench-data/runs/2026-11-29-musl).
//!
//! One function serves as both: short data are loaded completely before anything is stored, and long data are copied in the direction in which nothing is
//! overwritten before it was read. Both names are defined, so that the linker takes neither from the C library. On other platforms only the test is built.

// There is no other way to define a symbol of the C library.
#![allow(unsafe_code)]

#[cfg(all(not(test), target_env = "musl", target_feature = "crt-static"))]
std::arch::global_asm!(
    ".globl memcpy",
    ".globl memmove",
    ".set memcpy, multi_sync_move",
    ".set memmove, multi_sync_move"
);

// rdi: destination, rsi: source, rdx: number of bytes; rax: destination. Changes rcx, rdx, rsi, rdi, r8 to r10, xmm0 and xmm1, which belong to the callee.
std::arch::global_asm!(
    ".pushsection .text.multi_sync_move, \"ax\", @progbits",
    ".p2align 5",
    ".globl multi_sync_move",
    ".hidden multi_sync_move",
    ".type multi_sync_move, @function",
    "multi_sync_move:",
    "mov rax, rdi",
    "cmp rdx, 16",
    "jae 40f",
    "cmp edx, 8",
    "jae 30f",
    "cmp edx, 4",
    "jae 20f",
    "test edx, edx",
    "je 10f",
    // 1 to 3 bytes: the first, the last, and the middle one.
    "mov r9, rdx",
    "shr r9, 1",
    "movzx ecx, byte ptr [rsi]",
    "movzx r8d, byte ptr [rsi + rdx - 1]",
    "movzx r10d, byte ptr [rsi + r9]",
    "mov byte ptr [rdi + r9], r10b",
    "mov byte ptr [rdi + rdx - 1], r8b",
    "mov byte ptr [rdi], cl",
    "10: ret",
    // 4 to 7, 8 to 15, 16 to 32 bytes: two words that may overlap.
    "20: mov ecx, dword ptr [rsi]",
    "mov r8d, dword ptr [rsi + rdx - 4]",
    "mov dword ptr [rdi], ecx",
    "mov dword ptr [rdi + rdx - 4], r8d",
    "ret",
    "30: mov rcx, qword ptr [rsi]",
    "mov r8, qword ptr [rsi + rdx - 8]",
    "mov qword ptr [rdi], rcx",
    "mov qword ptr [rdi + rdx - 8], r8",
    "ret",
    "40: cmp rdx, 32",
    "ja 50f",
    "movups xmm0, xmmword ptr [rsi]",
    "movups xmm1, xmmword ptr [rsi + rdx - 16]",
    "movups xmmword ptr [rdi], xmm0",
    "movups xmmword ptr [rdi + rdx - 16], xmm1",
    "ret",
    // More: backwards if the destination begins inside the source.
    "50: mov rcx, rdi",
    "sub rcx, rsi",
    "cmp rcx, rdx",
    "jb 80f",
    "cmp rdx, 2048",
    "jae 70f",
    "movups xmm1, xmmword ptr [rsi + rdx - 16]",
    "lea r8, [rdi + rdx - 16]",
    "60: movups xmm0, xmmword ptr [rsi]",
    "add rsi, 16",
    "movups xmmword ptr [rdi], xmm0",
    "add rdi, 16",
    "cmp rdi, r8",
    "jb 60b",
    "movups xmmword ptr [r8], xmm1",
    "ret",
    "70: mov rcx, rdx",
    "rep movsb",
    "ret",
    "80: movups xmm1, xmmword ptr [rsi]",
    "lea r8, [rdi + 16]",
    "lea r9, [rsi + rdx]",
    "lea r10, [rdi + rdx]",
    "90: movups xmm0, xmmword ptr [r9 - 16]",
    "sub r9, 16",
    "movups xmmword ptr [r10 - 16], xmm0",
    "sub r10, 16",
    "cmp r10, r8",
    "ja 90b",
    "movups xmmword ptr [rdi], xmm1",
    "ret",
    ".size multi_sync_move, . - multi_sync_move",
    ".popsection",
);

#[cfg(test)]
mod tests {
    unsafe extern "C" {
        fn multi_sync_move(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8;
    }

    const ROOM: usize = 7000;

    /// Every length around the limits, at unaligned places, apart and overlapping in both directions, compared with safe Rust.
    #[test]
    fn moves_what_is_asked_and_nothing_else() {
        let filled: Vec<u8> = (0..ROOM).map(|at| (at * 31 % 251) as u8).collect();
        let lengths = (0..=130).chain([255, 256, 257, 1000, 2047, 2048, 2049, 2500]);
        for length in lengths {
            for from in [1024, 1025, 1031, 1040] {
                let places =
                    [from - 1000, from - 33, from - 16, from - 7, from - 1, from, from + 1, from + 8, from + 17];
                for to in places.into_iter().chain([from + 31, from + length, from + length + 3]) {
                    let (mut bytes, mut expected) = (filled.clone(), filled.clone());
                    expected.copy_within(from..from + length, to);
                    // SAFETY: both ranges are inside the buffer.
                    let told = unsafe {
                        let start = bytes.as_mut_ptr();
                        multi_sync_move(start.add(to), start.add(from), length).offset_from(start)
                    };
                    assert_eq!(
                        (usize::try_from(told), bytes == expected),
                        (Ok(to), true),
                        "{length} bytes from {from} to {to}"
                    );
                }
            }
        }
    }
}
