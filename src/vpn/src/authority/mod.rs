//! Who may connect. All factors are evaluated here, in one place; what is not known is not allowed.

mod decide;
mod denial;
mod pin;
mod standing;

pub use decide::{Authority, PATIENCE, Question, Verdict};
pub use denial::Denial;
pub use pin::{Pins, Proof};
pub use standing::{standing, trusted};
