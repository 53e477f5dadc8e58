//! How many multiply-adds this processor can start.

use super::is_available;

/// Multiply-adds in a round of [`issue`].
pub(super) const A_ROUND: usize = 16;

/// Runs `rounds` rounds of 16 independent multiply-adds, the most that this processor can issue.
///
/// In assembly, as this measures the processor and not what a compiler makes of a loop. Without the
/// instructions it does nothing.
pub(super) fn issue(rounds: u32) {
    if rounds > 0 && is_available() {
        // SAFETY: the instructions are available.
        unsafe { issue_lanes(rounds) };
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn issue_lanes(rounds: u32) {
    // SAFETY: touches nothing but the registers that it names.
    unsafe {
        core::arch::asm!(
            "2:",
            "vpmadd52luq zmm0, zmm16, zmm17",
            "vpmadd52luq zmm1, zmm16, zmm17",
            "vpmadd52luq zmm2, zmm16, zmm17",
            "vpmadd52luq zmm3, zmm16, zmm17",
            "vpmadd52luq zmm4, zmm16, zmm17",
            "vpmadd52luq zmm5, zmm16, zmm17",
            "vpmadd52luq zmm6, zmm16, zmm17",
            "vpmadd52luq zmm7, zmm16, zmm17",
            "vpmadd52huq zmm8, zmm16, zmm17",
            "vpmadd52huq zmm9, zmm16, zmm17",
            "vpmadd52huq zmm10, zmm16, zmm17",
            "vpmadd52huq zmm11, zmm16, zmm17",
            "vpmadd52huq zmm12, zmm16, zmm17",
            "vpmadd52huq zmm13, zmm16, zmm17",
            "vpmadd52huq zmm14, zmm16, zmm17",
            "vpmadd52huq zmm15, zmm16, zmm17",
            "dec {rounds:e}",
            "jnz 2b",
            rounds = inout(reg) rounds => _,
            out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _,
            out("zmm4") _, out("zmm5") _, out("zmm6") _, out("zmm7") _,
            out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _,
            out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _,
            options(nomem, nostack),
        );
    }
}
