//! How many products of limbs this processor can start.

use super::is_available;
use super::product::product_text;

/// Products of limbs in a round of [`issue`].
pub(super) const A_ROUND: usize = 12;

/// Runs `rounds` rounds of twelve products of limbs that wait for nothing but each other's sums.
///
/// In assembly, as this measures the processor and not what a compiler makes of a loop. Without the
/// instructions it does nothing.
pub(super) fn issue(rounds: u32) {
    if rounds > 0 && is_available() {
        // SAFETY: the instructions are available.
        unsafe { issue_lanes(rounds) };
    }
}

/// The text of one product, whose operand is a constant.
macro_rules! product {
    ($low:literal $high:literal) => {
        product_text!(["ymm14"] $low $high)
    };
}

#[target_feature(enable = "avx2,fma")]
fn issue_lanes(rounds: u32) {
    // SAFETY: touches nothing but the registers that it names.
    unsafe {
        core::arch::asm!(
            concat!(
                "vpxor ymm12, ymm12, ymm12\n",
                "vpxor ymm13, ymm13, ymm13\n",
                "vpxor ymm14, ymm14, ymm14\n",
                "2:\n",
                product!(0 6), product!(1 7), product!(2 8), product!(3 9), product!(4 10), product!(5 11),
                product!(0 6), product!(1 7), product!(2 8), product!(3 9), product!(4 10), product!(5 11),
                "dec {rounds:e}\n",
                "jnz 2b\n",
            ),
            rounds = inout(reg) rounds => _,
            out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _,
            out("ymm4") _, out("ymm5") _, out("ymm6") _, out("ymm7") _,
            out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
            out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
            options(nomem, nostack),
        );
    }
}
