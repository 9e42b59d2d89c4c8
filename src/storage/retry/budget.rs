//! How many retries a run can afford.

use std::sync::atomic::{AtomicU32, Ordering};

/// Retries ahead of successes: a retry costs ten units, a success earns one.
pub(super) struct Budget {
    units: AtomicU32,
    units_max: u32,
}

/// What a retry costs where a success earns one unit: at most every tenth request is a retry in the long run.
const RETRY_UNITS: u32 = 10;

impl Budget {
    pub(super) fn new(retries: u32) -> Self {
        let units_max = retries.saturating_mul(RETRY_UNITS);
        Self { units: AtomicU32::new(units_max), units_max }
    }

    /// Takes one retry, if there is one.
    pub(super) fn spend(&self) -> bool {
        self.units.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |units| units.checked_sub(RETRY_UNITS)).is_ok()
    }

    /// Makes it full again.
    pub(super) fn refill(&self) {
        self.units.store(self.units_max, Ordering::Relaxed);
    }

    /// Counts a success.
    pub(super) fn earn(&self) {
        // Full is the usual case and needs no write.
        let _ = self.units.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |units| (units < self.units_max).then_some(units + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_successes_pay_for_one_retry() {
        let budget = Budget::new(1);
        assert!(budget.spend());
        assert!(!budget.spend());
        (0..9).for_each(|_| budget.earn());
        assert!(!budget.spend());
        budget.earn();
        assert!(budget.spend());
    }
}
