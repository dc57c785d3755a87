//! The steps that the kinds' shapes went through, from the first release on.

use super::Step;

/// All of them, each kind's in order. They are never removed: a record that nobody wrote for years is still of its version,
/// should a migration have met it damaged.
pub const STEPS: &[Step] = &[];
