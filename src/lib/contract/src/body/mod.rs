//! What clients send. Every value is normalised as the contract says: null or absent is the type's zero, unknown keys
//! are dropped, keys match in any case, a wrong type is a fault that names the field.

mod access;
mod change;
mod server;

mod user;

use serde::Serialize;
use serde_json::Value;

pub use crate::settings::SettingsChange;
pub use access::{AdminChange, ClusterChange, Login, OrganizationChange, OrganizationNew};
pub use change::{HostChange, MssFix, Named, PinChange, Renewal};
pub use server::{RouteChange, ServerChange};
pub use user::{PortForward, UserChange, UserNew};

use crate::{Fault, Secret};

/// The body of a route.
pub trait Body: Sized + Send + 'static {
    /// Whether there is one.
    const SENT: bool;

    /// The names of its fields, if it is an object or a list of objects.
    const FIELDS: &'static [&'static str] = &[];

    /// The body that these bytes are. What follows the first JSON value is ignored.
    ///
    /// # Errors
    ///
    /// They are no JSON, or a value does not fit its type.
    fn decode(bytes: &[u8]) -> Result<Self, Fault>;

    /// The body as JSON. What is null or absent stays absent: it is never much longer than what was sent.
    fn encode(&self) -> Vec<u8>;
}

impl Body for () {
    const SENT: bool = false;

    fn decode(_: &[u8]) -> Result<Self, Fault> {
        Ok(())
    }

    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }
}

impl<T: Field> Body for T {
    const SENT: bool = true;
    const FIELDS: &'static [&'static str] = <T as Field>::FIELDS;

    fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let first = serde_json::Deserializer::from_slice(bytes).into_iter().next();
        let value = first.and_then(Result::ok).ok_or(Fault::whole("JSON"))?;
        Self::take(value)
    }

    fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("keys are text and no value refuses to be written")
    }
}

/// A value in a body. Its default is what null and absence mean.
pub trait Field: Default + Serialize + Send + 'static {
    /// Whether null cannot stand for it inside an array.
    const OBJECT: bool = false;

    /// The names of its fields, if it is an object or a list of objects.
    const FIELDS: &'static [&'static str] = &[];

    /// The value that this JSON is.
    ///
    /// # Errors
    ///
    /// It is of another type.
    fn take(value: Value) -> Result<Self, Fault>;
}

impl Field for String {
    fn take(value: Value) -> Result<Self, Fault> {
        match value {
            Value::Null => Ok(Self::new()),
            Value::String(text) => Ok(text),
            _ => Err(Fault::whole("text")),
        }
    }
}

impl Field for Secret {
    fn take(value: Value) -> Result<Self, Fault> {
        String::take(value).map(Self::from)
    }
}

impl Field for bool {
    fn take(value: Value) -> Result<Self, Fault> {
        match value {
            Value::Null => Ok(false),
            Value::Bool(truth) => Ok(truth),
            _ => Err(Fault::whole("true or false")),
        }
    }
}

impl Field for i64 {
    fn take(value: Value) -> Result<Self, Fault> {
        match value {
            Value::Null => Ok(0),
            value => value.as_i64().ok_or(Fault::whole("a whole number")),
        }
    }
}

/// The most objects in a list. Each takes hundreds of bytes while the body is being read, though it may have been sent as
/// three.
const OBJECTS: usize = 5_000;

impl<T: Field> Field for Vec<T> {
    const FIELDS: &'static [&'static str] = T::FIELDS;

    fn take(value: Value) -> Result<Self, Fault> {
        let items = match value {
            Value::Null => return Ok(Self::new()),
            Value::Array(items) => items,
            _ => return Err(Fault::whole("a list")),
        };
        if T::OBJECT && items.len() > OBJECTS {
            return Err(Fault::whole("a list of at most 5000 objects"));
        }
        let item = |(index, item): (usize, Value)| match item {
            Value::Null if T::OBJECT => Err(Fault::whole("an object").at(index)),
            item => T::take(item).map_err(|fault| fault.at(index)),
        };
        items.into_iter().enumerate().map(item).collect()
    }
}

/// Declares an object in a body.
macro_rules! object {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $field:ident: $type:ty),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
        pub struct $name { $($(#[$about])* #[serde(skip_serializing_if = "crate::body::is_default")] pub $field: $type),+ }

        impl crate::body::Field for $name {
            const OBJECT: bool = true;
            const FIELDS: &'static [&'static str] = &[$(stringify!($field)),+];

            fn take(value: serde_json::Value) -> Result<Self, crate::Fault> {
                let mut object = crate::body::keys(value)?;
                Ok(Self { $($field: crate::body::field(&mut object, stringify!($field))?),+ })
            }
        }
    };
}
pub(crate) use object;

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

type Object = serde_json::Map<String, Value>;

/// The object with its keys in lower case. Where two keys differ in case only, the exact one counts.
pub(crate) fn keys(value: Value) -> Result<Object, Fault> {
    let object = match value {
        Value::Null => return Ok(Object::new()),
        Value::Object(object) => object,
        _ => return Err(Fault::whole("an object")),
    };
    if !object.keys().any(|key| key.bytes().any(|byte| byte.is_ascii_uppercase())) {
        return Ok(object);
    }
    let mut lower = Object::new();
    for (key, value) in object {
        let exact = !key.bytes().any(|byte| byte.is_ascii_uppercase());
        let key = key.to_ascii_lowercase();
        if exact || !lower.contains_key(&key) {
            lower.insert(key, value);
        }
    }
    Ok(lower)
}

pub(crate) fn field<T: Field>(object: &mut Object, name: &str) -> Result<T, Fault> {
    object.remove(name).map_or_else(|| Ok(T::default()), |value| T::take(value).map_err(|fault| fault.under(name)))
}
