//! What the helper says when it can't do something: a word for `vpn`, the details for the log.

use std::fmt;
use std::io;

use culvert_wire::helper::Refusal;

/// Why something was not done.
#[derive(Debug)]
pub struct Failure {
    /// What `vpn` is told.
    pub refusal: Refusal,
    detail: String,
}

impl Failure {
    /// A refusal with its details.
    pub fn new(refusal: Refusal, detail: impl Into<String>) -> Self {
        Self { refusal, detail: detail.into() }
    }

    /// What the kernel refused while something was being done.
    pub fn system(doing: impl fmt::Display, error: impl Into<io::Error>) -> Self {
        let error: io::Error = error.into();
        Self::new(Refusal::System(number(&error)), format!("{doing}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.refusal, self.detail)
    }
}

impl std::error::Error for Failure {}

/// Adds to an error of the kernel what was being done.
pub trait During<T> {
    /// The value, or a [`Refusal::System`] that says what was being done.
    fn during(self, doing: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, doing: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::system(doing, error))
    }
}

/// The kernel's number for an error, also for one that is wrapped in another; 0 if it has none.
fn number(error: &io::Error) -> i32 {
    let inner = || error.get_ref()?.downcast_ref::<culvert_link::Error>()?.number();
    error.raw_os_error().or_else(inner).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_number_is_found_inside_other_errors() {
        let kernel = || io::Error::from_raw_os_error(16);
        let direct = Failure::system("doing", kernel());
        let wrapped = Failure::system("doing", culvert_link::Error::new("trying", kernel()));
        assert_eq!([direct.refusal, wrapped.refusal], [Refusal::System(16); 2]);
        assert_eq!(Failure::system("doing", io::Error::other("no number")).refusal, Refusal::System(0));
        assert!(wrapped.to_string().contains("doing: trying: "), "{wrapped}");
    }
}
