//! Listed query parameters. Others are dropped; an empty value is none.

use std::fmt::Write;

use crate::Fault;
use crate::text::{decode, encode};

/// The listed query parameters of a route.
pub trait Query: Sized + Send + 'static {
    /// Their names.
    const NAMES: &'static [&'static str];

    /// The parameters out of a query.
    ///
    /// # Errors
    ///
    /// One does not fit its type, or is not percent-encoded UTF-8.
    fn parse(query: &str) -> Result<Self, Fault>;

    /// The parameters as a query, without the question mark.
    fn encode(&self) -> String;
}

impl Query for () {
    const NAMES: &'static [&'static str] = &[];

    fn parse(_: &str) -> Result<Self, Fault> {
        Ok(())
    }

    fn encode(&self) -> String {
        String::new()
    }
}

trait Value: Sized {
    fn read(text: &str) -> Result<Self, &'static str>;
    fn write(&self, to: &mut String);
}

impl Value for u32 {
    fn read(text: &str) -> Result<Self, &'static str> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| digits).ok_or("a whole number from 0")
    }

    fn write(&self, to: &mut String) {
        write!(to, "{self}").expect("a string takes all text");
    }
}

impl Value for bool {
    fn read(text: &str) -> Result<Self, &'static str> {
        Ok(text == "true")
    }

    fn write(&self, to: &mut String) {
        write!(to, "{self}").expect("a string takes all text");
    }
}

impl Value for String {
    fn read(text: &str) -> Result<Self, &'static str> {
        (text.len() <= 512).then(|| text.to_owned()).ok_or("text of at most 512 bytes")
    }

    fn write(&self, to: &mut String) {
        encode(self, to);
    }
}

macro_rules! query {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $field:ident: $type:ty),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub struct $name { $($(#[$about])* pub $field: Option<$type>),+ }

        impl Query for $name {
            const NAMES: &'static [&'static str] = &[$(stringify!($field)),+];

            fn parse(query: &str) -> Result<Self, Fault> {
                let mut parsed = Self::default();
                for pair in query.split('&') {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    match name {
                        $(stringify!($field) if !value.is_empty() && parsed.$field.is_none() => {
                            let fault = |expected| Fault { field: name.to_owned(), expected };
                            let spaced = value.replace('+', " ");
                            let text = decode(&spaced).ok_or_else(|| fault("percent-encoded UTF-8"))?;
                            parsed.$field = Some(<$type as Value>::read(&text).map_err(fault)?);
                        })+
                        _ => {}
                    }
                }
                Ok(parsed)
            }

            fn encode(&self) -> String {
                let mut query = String::new();
                $(if let Some(value) = &self.$field {
                    query.push_str(if query.is_empty() { "" } else { "&" });
                    query.push_str(concat!(stringify!($field), "="));
                    value.write(&mut query);
                })+
                query
            }
        }
    };
}

query! {
    /// Which page of a list; without it the whole list.
    Page {
        /// From 0.
        page: u32,
    }
}

query! {
    /// Which users of an organisation, and how many.
    UserFilter {
        /// From 0.
        page: u32,
        /// What to look for: part of the name, or `id:`, `type:`, `group:`, `email:`, `status:` and a value.
        search: String,
        /// The most users that a search answers.
        limit: u32,
        /// Whether those come first who were longest away.
        last_active: bool,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encoded_parses_to_the_same(
            page: Option<u32>, search in proptest::option::of(".{1,40}"), limit: Option<u32>, last_active: Option<bool>
        ) {
            let filter = UserFilter { page, search, limit, last_active };
            prop_assert_eq!(UserFilter::parse(&filter.encode()), Ok(filter));
        }

        #[test]
        fn any_query_is_read_or_refused(query in ".*") {
            if let Ok(filter) = UserFilter::parse(&query) {
                prop_assert_eq!(UserFilter::parse(&filter.encode()), Ok(filter));
            }
        }
    }

    #[test]
    fn unlisted_and_empty_parameters_are_none() {
        assert_eq!(Page::parse("page=&colour=red&&="), Ok(Page::default()));
        let fault = Page::parse("page=one").expect_err("no number");
        assert_eq!(fault.to_string(), "page: expected a whole number from 0");
        assert!(Page::parse("page=-1").is_err() && Page::parse("page=%").is_err());
    }
}
